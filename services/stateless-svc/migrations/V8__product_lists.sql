-- What lists of products are sorted and searched by. Built within the time of a migration up to some
-- millions of products.
SET LOCAL statement_timeout = '10min';
CREATE INDEX products_by_name ON products (name COLLATE "C", id);
CREATE INDEX products_by_price ON products (price, id);
CREATE INDEX products_by_age ON products (created_at, id);
CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name));
