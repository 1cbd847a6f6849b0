-- The keys of requests that changed accounts, each written in the transaction of its change.
CREATE TABLE idempotency_keys (
    -- HMACs of caller and key, and of operation and input: neither can be restored.
    key         bytea PRIMARY KEY CHECK (length(key) = 32),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    -- The user as the first response had it; null where the response has no body.
    account     jsonb,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
