//! Invalidation of what is cached about a Redis topology: the master, or the owners of a cluster's
//! slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the events after which the cached topology may be wrong: failed connections, `MOVED`, a
/// failover.
///
/// The cache stores the count that it was read at and is stale once the count has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct TopologyInvalidations(Arc<AtomicU64>);

impl TopologyInvalidations {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn invalidate(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates unless something else has since `count`: a hundred connections that fail at once
    /// count once.
    pub(super) fn invalidate_since(&self, count: u64) {
        let _already_counted =
            self.0.compare_exchange(count, count + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}
