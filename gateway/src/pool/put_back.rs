//! How many canaries were put back.

use std::sync::atomic::{AtomicU64, Ordering};

use proto_contracts::control::PutBack;

/// Counts by reason.
#[derive(Debug, Default)]
pub(super) struct PutBackCounts([AtomicU64; PutBack::ALL.len()]);

impl PutBackCounts {
    /// Counts one.
    pub(super) fn add(&self, reason: PutBack) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those of this reason.
    pub(super) fn of(&self, reason: PutBack) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}
