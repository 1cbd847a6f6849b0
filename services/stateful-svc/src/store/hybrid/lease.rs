//! What an instance may answer from its memory under one lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::copy::nanos;
use super::hot_set::HotSet;
use crate::store::redis::claim::{LeaseId, Mark};
use crate::store::redis::handover::TRUST;
use crate::store::redis::leases::Server;

/// A lease that this instance holds, with the copies that it holds under it. A new lease comes with an empty hot set; an act
/// that was begun under an old one fills the old one's, at which nobody looks any more.
pub(super) struct Lease {
    pub(super) id: LeaseId,
    /// Where the lease is.
    pub(super) server: Server,
    pub(super) hot: HotSet,
    /// Until when it is trusted, by the instance's own clock, in nanoseconds.
    trusted_until: AtomicU64,
}

impl Lease {
    /// A lease that was asked for at `asked` by the instance's own clock.
    pub(super) fn new(id: LeaseId, server: Server, hot: HotSet, asked: Duration) -> Self {
        Self { id, server, hot, trusted_until: AtomicU64::new(nanos(asked + TRUST)) }
    }

    /// Whether copies may be served at this time.
    pub(super) fn is_trusted(&self, now: Duration) -> bool {
        nanos(now) < self.trusted_until.load(Ordering::Acquire)
    }

    /// It was renewed, by a request that was sent at `sent` nanoseconds of the instance's own clock.
    pub(super) fn renewed(&self, sent: u64) {
        self.trusted_until.fetch_max(sent.saturating_add(nanos(TRUST)), Ordering::AcqRel);
    }

    /// It is not trusted any more, and will not be renewed.
    pub(super) fn revoke(&self) {
        self.trusted_until.store(0, Ordering::Release);
    }

    /// For how long it has not been trusted.
    pub(super) fn lapsed_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.trusted_until.load(Ordering::Acquire)))
    }

    /// Names the act of this ticket.
    pub(super) fn mark(&self, ticket: u64) -> Mark {
        Mark { lease: self.id, ticket }
    }
}
