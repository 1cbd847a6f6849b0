-- Files of users. Their content is in the store of files, under their id.
CREATE TABLE files (
    id           uuid PRIMARY KEY,
    owner        text COLLATE "C" NOT NULL REFERENCES users (id),
    -- A row exists before its content and after it, so content without a row belongs to nobody.
    state        text NOT NULL CHECK (state IN ('uploading', 'stored', 'deleting')),
    -- Bytes that count against the owner's quota; of an upload, the most that it may bring.
    charged      bigint NOT NULL CHECK (charged > 0),
    -- Until when an instance works on it: then the sweeper may.
    lease_until  timestamptz,
    name         text,
    size         bigint CHECK (size BETWEEN 0 AND charged),
    sha256       bytea CHECK (length(sha256) = 32),
    content_type text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (state <> 'stored' OR (name, size, sha256, content_type) IS NOT NULL),
    CHECK ((state = 'stored') = (lease_until IS NULL))
);
-- A user's pages, and the sum of what is charged.
CREATE INDEX files_of_owner ON files (owner, id) INCLUDE (charged);
CREATE INDEX files_unfinished ON files (lease_until) WHERE state <> 'stored';
CREATE INDEX users_deleted ON users (id) WHERE deleted_at IS NOT NULL;

-- When the store is next searched for content without a row: one row.
CREATE TABLE file_scans (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    next_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO file_scans DEFAULT VALUES;
