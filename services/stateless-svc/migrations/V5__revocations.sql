-- Access tokens issued before are revoked. Whole seconds, as the claim `iat` has.
ALTER TABLE users ADD COLUMN not_before timestamptz;

-- The outbox: revocations that the stateful service must learn of. A row is written in the
-- transaction of its change, and delivered by a relay.
CREATE TABLE revocations (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id         text COLLATE "C" NOT NULL REFERENCES users,
    not_before      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts        integer NOT NULL DEFAULT 0,
    -- While a relay delivers a row, this is when another one may try.
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at    timestamptz
);
CREATE INDEX revocations_waiting ON revocations (next_attempt_at) WHERE delivered_at IS NULL;
CREATE INDEX revocations_delivered ON revocations (delivered_at) WHERE delivered_at IS NOT NULL;
