//! Notices a session that Redis has lost: the one thing that must not happen, so somebody has to look.
//!
//! An instance remembers which sessions it has created. When Redis has no trace of one of them, not even a tombstone, well
//! before its time can be up, it was lost: evicted, or gone with a Redis that came back without it.

use std::time::Duration;

use moka::sync::Cache;
use prometheus::{IntCounter, Opts};
use proto_contracts::SessionDigest;

use crate::domain::lifetime::Lifetime;

/// Sessions that are remembered; each costs some 150 bytes.
const CAPACITY: u64 = 200_000;

/// The sessions that were created here and must still be there.
pub(super) struct Lost {
    promised: Cache<SessionDigest, ()>,
    count: IntCounter,
}

impl Lost {
    pub(super) fn new(lifetime: Lifetime) -> Self {
        // Near its end a session may be gone by Redis's clock and not yet by ours: then nothing is promised any more.
        let most = |time: Duration| time.min(Duration::from_hours(24 * 365)) * 9 / 10;
        let promised = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_idle(most(lifetime.idle))
            .time_to_live(most(lifetime.absolute))
            .build();
        let count = Opts::new(
            "stateful_sessions_lost_total",
            "Sessions that this instance had created, and that were gone before their time.",
        );
        Self { promised, count: IntCounter::with_opts(count).expect("the name is valid") }
    }

    pub(super) fn counter(&self) -> &IntCounter {
        &self.count
    }

    /// The session was created and acknowledged.
    pub(super) fn promise(&self, session: SessionDigest) {
        self.promised.insert(session, ());
    }

    /// The session was used, which starts its idle time anew.
    pub(super) fn used(&self, session: SessionDigest) {
        // A read is what keeps an entry.
        let _promised = self.promised.get(&session);
    }

    /// Takes the promise back, and tells whether there was one.
    pub(super) fn take_back(&self, session: SessionDigest) -> bool {
        self.promised.remove(&session).is_some()
    }

    /// The session is gone without a trace.
    pub(super) fn lost(&self, session: SessionDigest) {
        self.count.inc();
        tracing::error!(%session, "a session was lost: Redis has no trace of it before its time was up");
    }
}
