-- The audit log: a row for each change, written in its transaction, and sums of refused requests.
-- The service creates a partition for each month and drops old ones.
CREATE TABLE audit_log (
    -- A UUID that begins with the time, as version 7 does: ids are in the order of `at`.
    id         uuid NOT NULL,
    at         timestamptz NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('anonymous', 'user', 'operator')),
    actor      text COLLATE "C",
    action     text NOT NULL,
    -- The username that the change is about.
    object     text COLLATE "C",
    request_id uuid,
    -- An address, or the /64 of IPv6 in a sum.
    address    inet,
    before     jsonb,
    after      jsonb,
    -- Refusals of the minute that begins at `at`.
    count      bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (at, id),
    CHECK ((actor_kind = 'user') = (actor IS NOT NULL))
) PARTITION BY RANGE (at);
CREATE INDEX audit_log_by_actor ON audit_log (actor, at, id);
CREATE INDEX audit_log_by_object ON audit_log (object, at, id);
CREATE INDEX audit_log_by_action ON audit_log (action, at, id);

-- Takes the rows of a month without a partition, so that no change fails for one.
CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT;
