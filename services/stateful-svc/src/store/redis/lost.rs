//! Detects sessions that Redis has lost, which must never happen.
//!
//! An instance remembers the sessions that it has created. When Redis has neither record nor
//! tombstone of one of them well before its expiry, the session was lost. It was evicted, or a
//! failover or restart of Redis lost it.

use std::time::Duration;

use moka::sync::Cache;
use prometheus::{IntCounter, Opts};
use proto_contracts::SessionDigest;

use crate::domain::lifetime::Lifetime;

/// Maximum number of remembered sessions, at some 150 bytes each.
const CAPACITY: u64 = 200_000;

/// The sessions that this instance created and that must still exist.
pub(super) struct Lost {
    created: Cache<SessionDigest, ()>,
    count: IntCounter,
}

impl Lost {
    pub(super) fn new(lifetime: Lifetime) -> Self {
        // Forgotten before its expiry: the session may expire earlier by Redis's clock than by this
        // one.
        let shortened = |time: Duration| time.min(Duration::from_hours(24 * 365)) * 9 / 10;
        let created = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_idle(shortened(lifetime.idle))
            .time_to_live(shortened(lifetime.absolute))
            .build();
        let count = Opts::new(
            "stateful_sessions_lost_total",
            "Sessions created by this instance that Redis lost before their expiry.",
        );
        Self { created, count: IntCounter::with_opts(count).expect("the name is valid") }
    }

    pub(super) fn counter(&self) -> &IntCounter {
        &self.count
    }

    /// Remembers a created session.
    pub(super) fn remember(&self, session: SessionDigest) {
        self.created.insert(session, ());
    }

    /// Records a use, which resets the session's idle time.
    pub(super) fn used(&self, session: SessionDigest) {
        // A read renews the entry.
        let _created = self.created.get(&session);
    }

    /// Forgets the session; `true` when it was remembered.
    pub(super) fn forget(&self, session: SessionDigest) -> bool {
        self.created.remove(&session).is_some()
    }

    /// Counts and logs a lost session.
    pub(super) fn report(&self, session: SessionDigest) {
        self.count.inc();
        tracing::error!(
            %session,
            "session lost: Redis has neither record nor tombstone before its expiry"
        );
    }
}
