//! The sessions that were read from memory, and whose use Redis has not seen yet.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto_contracts::SessionDigest;

use crate::domain::lifetime::Lifetime;

/// Sessions whose expiry is to be extended in Redis.
#[derive(Default)]
pub(super) struct Touches {
    // Locked by the first read of a session in an interval, and by the flush.
    pending: Mutex<Vec<SessionDigest>>,
}

impl Touches {
    pub(super) fn add(&self, session: SessionDigest) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    pub(super) fn put_back(&self, sessions: &[SessionDigest]) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(sessions);
    }

    pub(super) fn take(&self) -> Vec<SessionDigest> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The interval of flushes: 5 s, or less for short-lived sessions.
pub(super) fn interval(lifetime: Lifetime) -> Duration {
    (lifetime.idle / 20).min(Duration::from_secs(5))
}
