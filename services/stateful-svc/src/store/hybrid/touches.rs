//! Tells Redis of sessions that were read from memory, so that they stay alive: in batches, once in each window.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use proto_contracts::SessionDigest;
use service_kit::telemetry::chain;

use super::Shared;
use crate::domain::clock::SteadyClock;
use crate::domain::lifetime::Lifetime;
use crate::store::StoreFault;

/// How many sessions one message to Redis names.
const BATCH: usize = 128;

/// Sessions that Redis is to be told of.
#[derive(Default)]
pub(super) struct Touches {
    // Locked by the first read of a session in a window, and by whoever takes the batch.
    noted: Mutex<Vec<SessionDigest>>,
}

impl Touches {
    pub(super) fn note(&self, session: SessionDigest) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    fn put_back(&self, sessions: &[SessionDigest]) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(sessions);
    }

    fn take(&self) -> Vec<SessionDigest> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// After which time Redis knows of a read at the latest, if it is there: 5 s, or less for sessions that end soon.
pub(super) fn window(lifetime: Lifetime) -> Duration {
    (lifetime.idle / 20).min(Duration::from_secs(5))
}

/// Tells Redis in each window, for as long as the store is there.
pub(super) async fn tell<C: SteadyClock>(store: Weak<Shared<C>>, window: Duration) {
    loop {
        tokio::time::sleep(window).await;
        let Some(shared) = store.upgrade() else { return };
        if let Err(error) = tell_now(&shared).await {
            // They are kept for the next window. What a request meets of an outage is logged as one.
            tracing::debug!(cause = chain(&error), "Redis does not know of all reads from memory yet");
        }
    }
}

/// Tells Redis of all that were read since it was last told.
///
/// # Errors
/// When Redis could not be told; those that it does not know of are kept.
pub(super) async fn tell_now<C: SteadyClock>(shared: &Arc<Shared<C>>) -> Result<(), StoreFault> {
    let noted = shared.touches.take();
    for (number, batch) in noted.chunks(BATCH).enumerate() {
        let lease = shared.lease.load_full();
        let copy = |session| lease.as_ref().and_then(|lease| lease.hot.hot(session));
        // Before it is told: a read that comes now is told of in the next window.
        batch.iter().filter_map(|session| copy(*session)).for_each(|copy| copy.forget_use());
        let sent = shared.clock.now();
        // Until it is told, nothing is served for longer than Redis has promised.
        let touched = shared.redis.touch(batch).await;
        let touched = touched.inspect_err(|_| shared.touches.put_back(&noted[number * BATCH..]))?;
        for touched in touched {
            if let Some(copy) = copy(touched.session) {
                copy.lives_until(touched.ends, touched.now, sent);
            }
        }
    }
    Ok(())
}
