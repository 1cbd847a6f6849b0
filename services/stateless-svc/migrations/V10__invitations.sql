-- Invitations, with which users without a password set one: one for each such user, and of its code
-- the SHA-256 alone.
CREATE TABLE invitations (
    user_id    text COLLATE "C" PRIMARY KEY REFERENCES users,
    hash       bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
