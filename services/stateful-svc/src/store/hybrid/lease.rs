//! A lease that this instance holds, with the copies that it may serve under it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::hot_copy::nanos;
use super::hot_set::HotSet;
use crate::store::redis::claim::{LeaseId, Mark};
use crate::store::redis::handover_state::TRUST;
use crate::store::redis::server::Server;

/// A new lease has an empty hot set. An operation that began under an old lease fills the old
/// one's, which nothing reads.
pub(super) struct Lease {
    pub(super) id: LeaseId,
    /// The server that the lease is on.
    pub(super) server: Server,
    pub(super) hot: HotSet,
    /// The end of the trust, by the instance's clock, in nanoseconds.
    trusted_until: AtomicU64,
}

impl Lease {
    /// A lease requested at this time of the instance's clock.
    pub(super) fn new(id: LeaseId, server: Server, hot: HotSet, requested: Duration) -> Self {
        Self { id, server, hot, trusted_until: AtomicU64::new(nanos(requested + TRUST)) }
    }

    /// Whether copies may be served at this time.
    pub(super) fn is_trusted(&self, now: Duration) -> bool {
        nanos(now) < self.trusted_until.load(Ordering::Acquire)
    }

    /// Extends the trust after a renewal that was sent at `sent` nanoseconds of the instance's
    /// clock.
    pub(super) fn renewed(&self, sent: u64) {
        self.trusted_until.fetch_max(sent.saturating_add(nanos(TRUST)), Ordering::AcqRel);
    }

    /// Ends the trust. The lease must not be renewed afterwards.
    pub(super) fn revoke(&self) {
        self.trusted_until.store(0, Ordering::Release);
    }

    /// The time since the end of the trust.
    pub(super) fn expired_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.trusted_until.load(Ordering::Acquire)))
    }

    /// The mark of the operation with this ticket.
    pub(super) fn mark(&self, ticket: u64) -> Mark {
        Mark { lease: self.id, ticket }
    }
}
