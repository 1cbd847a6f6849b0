-- Units taken from the stock of products. They stay when the product or the user is deleted.
CREATE TABLE reservations (
    id         uuid PRIMARY KEY,
    product_id text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    quantity   integer NOT NULL CHECK (quantity > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reservations_of_product ON reservations (product_id, created_at);

-- What the first response showed, by its kind: {"product": {…}}. Users are in `account`, which
-- earlier versions of the service write and read, too.
ALTER TABLE idempotency_keys ADD COLUMN outcome jsonb;
