//! How many sessions this instance serves, where the store has no count of its own.

use std::time::Duration;

use moka::sync::Cache;
use proto_contracts::SessionDigest;

/// An approximate count of the sessions used through this instance within the idle time.
///
/// It counts at most [`LiveSessions::CAPACITY`] sessions, and a session that moved to another
/// instance counts here until its idle time has passed. That is precise enough for routing new
/// clients and for a gauge.
#[derive(Clone, Debug)]
pub struct LiveSessions {
    seen: Cache<SessionDigest, ()>,
}

impl LiveSessions {
    /// Bounds the memory: each session takes some 150 bytes.
    pub const CAPACITY: u64 = 200_000;

    /// An empty count, which forgets a session after `idle` without use.
    pub fn new(idle: Duration) -> Self {
        // moka panics on more than a thousand years.
        let idle = idle.min(Duration::from_hours(24 * 365));
        Self { seen: Cache::builder().max_capacity(Self::CAPACITY).time_to_idle(idle).build() }
    }

    /// Records a use of the session.
    pub fn used(&self, session: SessionDigest) {
        // A read renews an entry, and is much cheaper than a write.
        if self.seen.get(&session).is_none() {
            self.seen.insert(session, ());
        }
    }

    /// Removes a session that has ended.
    pub fn ended(&self, session: SessionDigest) {
        self.seen.invalidate(&session);
    }

    /// The number of sessions used within the idle time.
    pub fn count(&self) -> u64 {
        self.seen.run_pending_tasks();
        self.seen.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};

    use super::*;

    #[test]
    fn a_session_counts_once_and_until_it_ends() {
        let live = LiveSessions::new(Duration::from_secs(60));
        let sessions =
            [1, 2, 3].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        sessions.into_iter().chain(sessions).for_each(|session| live.used(session));
        assert_eq!(live.count(), 3);
        live.ended(sessions[0]);
        assert_eq!(live.count(), 2);
    }
}
