-- Users. A row stays when its user is deleted, so that a username is never issued again.
CREATE TABLE users (
    id            text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[a-z0-9._-]{3,64}$'),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    role          text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'instructor', 'admin')),
    -- PHC string of Argon2id, with its salt and parameters.
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz,
    deleted_at    timestamptz
);

-- A login: its refresh tokens, each the successor of another, form a family.
CREATE TABLE logins (
    id         uuid PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX logins_of_user ON logins (user_id) WHERE ended_at IS NULL;
CREATE INDEX logins_by_expiry ON logins (expires_at);

-- Refresh tokens, as SHA-256 alone. `sealed_successor` is the next token, encrypted with this one,
-- which is stored nowhere: a repeated refresh can get the same next token.
CREATE TABLE refresh_tokens (
    hash             bytea PRIMARY KEY CHECK (length(hash) = 32),
    login_id         uuid NOT NULL REFERENCES logins ON DELETE CASCADE,
    used_at          timestamptz,
    successor        bytea CHECK (length(successor) = 32),
    sealed_successor bytea CHECK (length(sealed_successor) = 32),
    CHECK ((used_at IS NULL) = (successor IS NULL)),
    CHECK ((used_at IS NULL) = (sealed_successor IS NULL))
);
CREATE INDEX refresh_tokens_of_login ON refresh_tokens (login_id);
