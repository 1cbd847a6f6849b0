//! Delivers revocations from the outbox to the stateful service, through the gateway.
//!
//! Any number of instances relay at once; each takes rows that no other has. A delivery is repeated
//! until one is accepted, which does no harm: a user's `not_before` only grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Url;
use service_kit::telemetry::chain;
use service_kit::tls::Trust;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::revocation::Revocation;
use crate::issuer::{IssueError, Issuer};
use crate::store::StoreError;
use crate::store::revocations::Revocations;

mod metrics;
mod target;

use metrics::Delivery;
pub use metrics::RelayMetrics;
use target::{NotAccepted, Target};

/// How often the outbox is read, for rows of other instances and for repeated attempts. A row of
/// this instance is delivered at once.
const POLL: Duration = Duration::from_millis(200);
/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// How often old rows are deleted.
const CLEAN_UP: Duration = Duration::from_hours(1);
/// Deliveries at once. Each may have to wait until the lease of a stopped instance has ended;
/// others must not wait for it.
const AT_ONCE: usize = 128;

/// Delivers revocations. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    outbox: Revocations,
    issuer: Issuer,
    target: Target,
    metrics: RelayMetrics,
    permits: Arc<Semaphore>,
    is_failing: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read or changed")]
    Store(#[from] StoreError),
    #[error("the event cannot be signed")]
    Sign(#[from] IssueError),
    #[error("the event was not accepted")]
    NotAccepted(#[from] NotAccepted),
}

impl Relay {
    /// Relays to the stateful service behind this gateway, which may have TLS.
    ///
    /// # Errors
    /// When the platform has no usable TLS.
    pub fn new(
        outbox: Revocations,
        issuer: Issuer,
        (gateway, trust): (&Url, &Trust),
        metrics: RelayMetrics,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self(Arc::new(Shared {
            outbox,
            issuer,
            target: Target::new(gateway, trust)?,
            metrics,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            is_failing: AtomicBool::new(false),
        })))
    }

    /// Delivers forever. `written` is notified when this instance has written a row.
    pub async fn run(self, written: Arc<Notify>) {
        let shared = &self.0;
        let (mut measured, mut cleaned) = (None::<Instant>, Instant::now());
        loop {
            let taken = match self.take().await {
                Ok(taken) => taken,
                Err(error) => {
                    shared.failed(&error);
                    0
                }
            };
            if measured.is_none_or(|at| at.elapsed() >= MEASURE) {
                measured = Some(Instant::now());
                if let Ok(backlog) = shared.outbox.backlog().await {
                    shared.metrics.backlog(backlog);
                }
            }
            if cleaned.elapsed() >= CLEAN_UP {
                cleaned = Instant::now();
                if let Err(error) = shared.outbox.delete_old().await {
                    tracing::warn!(cause = chain(&error), "cannot delete old revocations");
                }
            }
            if taken == 0 {
                let _poll = timeout(POLL, written.notified()).await;
            }
        }
    }

    /// Begins to deliver what waits, as far as there is room; returns how many.
    async fn take(&self) -> Result<usize, RelayError> {
        let shared = &self.0;
        let room = shared.permits.available_permits();
        if room == 0 {
            return Ok(0);
        }
        let taken = shared.outbox.take(room).await?;
        let count = taken.len();
        for revocation in taken {
            // There is room, and only this loop takes it.
            let permit = Arc::clone(&shared.permits).acquire_owned().await.ok();
            tokio::spawn(self.clone().deliver(revocation, permit));
        }
        Ok(count)
    }

    async fn deliver(self, revocation: Revocation, _permit: Option<OwnedSemaphorePermit>) {
        let shared = &*self.0;
        let delivered = shared.try_to_deliver(&revocation).await;
        shared.metrics.attempted(match &delivered {
            Ok(()) => Delivery::Delivered,
            Err(RelayError::NotAccepted(error)) if error.is_rejection() => Delivery::Rejected,
            Err(_) => Delivery::Failed,
        });
        match delivered {
            Ok(()) => {
                if shared.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("revocations are delivered again");
                }
            }
            Err(error) => shared.failed(&error),
        }
    }
}

impl Shared {
    async fn try_to_deliver(&self, revocation: &Revocation) -> Result<(), RelayError> {
        let event = self.issuer.sign_event(revocation)?;
        self.target.send(&event).await?;
        Ok(self.outbox.delivered(revocation.id).await?)
    }

    /// Logs the first failure of an outage.
    fn failed(&self, error: &RelayError) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(cause = chain(error), "revocations are not delivered; retrying");
        }
    }
}
