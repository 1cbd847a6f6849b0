//! Extends in Redis, in batches, the expiry of sessions that were read from memory.

use std::sync::{Arc, Weak};
use std::time::Duration;

use service_kit::telemetry::chain;

use super::shared::Shared;
use crate::domain::clock::SteadyClock;
use crate::store::StoreFault;

/// Sessions per pipeline.
const BATCH: usize = 128;

/// Flushes periodically until the store is dropped.
pub(super) async fn run<C: SteadyClock>(store: Weak<Shared<C>>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = store.upgrade() else { return };
        if let Err(error) = flush(&shared).await {
            // They are kept for the next interval. Requests log the outage.
            tracing::debug!(
                cause = chain(&error),
                "touch flush failed; retrying in the next interval"
            );
        }
    }
}

/// Sends all pending touches.
///
/// # Errors
/// When Redis is unavailable; touches that were not sent stay pending.
pub(super) async fn flush<C: SteadyClock>(shared: &Arc<Shared<C>>) -> Result<(), StoreFault> {
    let pending = shared.touches.take();
    for (number, batch) in pending.chunks(BATCH).enumerate() {
        let lease = shared.lease.load_full();
        let copy = |session| lease.as_ref().and_then(|lease| lease.hot.hot(session));
        // Before the flush: a read from now on is pending for the next one.
        batch.iter().filter_map(|session| copy(*session)).for_each(|copy| copy.clear_use());
        let sent = shared.clock.now();
        // Copies are served no longer than Redis has confirmed.
        let touched = shared.redis.touch(batch).await;
        let touched =
            touched.inspect_err(|_| shared.touches.put_back(&pending[number * BATCH..]))?;
        for touched in touched {
            if let Some(copy) = copy(touched.session) {
                copy.extend_expiry(touched.ends, touched.now, sent);
            }
        }
    }
    Ok(())
}
