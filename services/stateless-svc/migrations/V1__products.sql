-- The catalogue. Ids are text, as in the legacy API; collation "C" makes their order the same in
-- every database.
CREATE TABLE products (
    id         text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    price      numeric(12, 2) NOT NULL CHECK (price >= 0),
    stock      integer NOT NULL CHECK (stock >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
