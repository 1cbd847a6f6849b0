//! Ejects instances that keep failing requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;
use tokio::sync::{Mutex, mpsc};

use crate::config::Identity;
use crate::health_check::prober::Prober;
use crate::pool::{ClientHash, Host, Instance, Pools};
use crate::resilience::outlier::{Policy, Reason};
use crate::telemetry::Telemetry;

/// Maximum pending suspects. One that does not fit is reported again after more failures.
const BACKLOG: usize = 64;

/// Timeout of a readiness check, which itself gives dependencies a second.
const READINESS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// An instance with too many consecutive failures.
#[derive(Debug)]
struct Suspect {
    pool: PoolName,
    instance: Arc<Instance>,
    reason: Reason,
    policy: Policy,
}

/// Counts failures on the data path and reports suspects.
#[derive(Debug)]
pub struct Reporter(mpsc::Sender<Suspect>);

impl Reporter {
    /// Counts a failed request of this client; `None`: an exempt one. Without a policy nothing is
    /// counted.
    ///
    /// A single client cannot eject an instance, because its requests may be the cause.
    pub fn failed(
        &self,
        pool: PoolName,
        instance: &Arc<Instance>,
        reason: Reason,
        client: Option<ClientHash>,
        policy: Option<Policy>,
    ) {
        let Some(policy) = policy else { return };
        if reason == Reason::Timeouts {
            instance.note_timeout(Instant::now());
        }
        // At each multiple, so that an instance that was not ejected is considered again.
        let in_a_row = instance.count_failure(client);
        if in_a_row.is_some_and(|in_a_row| in_a_row.is_multiple_of(policy.consecutive_failures)) {
            let suspect = Suspect { pool, instance: Arc::clone(instance), reason, policy };
            let _reported_again_when_full = self.0.try_send(suspect);
        }
    }
}

/// The background service that ejects suspects.
pub struct Ejector {
    /// Locked because services are shared; the only user is `start`.
    suspects: Mutex<mpsc::Receiver<Suspect>>,
    pools: Arc<Pools>,
    prober: Prober,
    telemetry: Arc<Telemetry>,
}

impl Ejector {
    /// An ejector for these pools, and its reporter.
    pub fn new(
        pools: Arc<Pools>,
        telemetry: Arc<Telemetry>,
        identity: &Identity,
    ) -> (Self, Reporter) {
        let (reporter, suspects) = mpsc::channel(BACKLOG);
        (
            Self {
                suspects: Mutex::new(suspects),
                pools,
                prober: Prober::new(READINESS_TIMEOUT, identity),
                telemetry,
            },
            Reporter(reporter),
        )
    }
}

#[async_trait]
impl BackgroundService for Ejector {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut suspects = self.suspects.lock().await;
        loop {
            let suspect = tokio::select! {
                suspect = suspects.recv() => suspect,
                _ = shutdown.changed() => None,
            };
            let Some(Suspect { pool, instance, reason, policy }) = suspect else { return };
            if reason != Reason::Connections && self.is_shared(pool, &instance).await {
                let why = "all other instances are not ready either";
                tracing::warn!(%pool, instance = %instance.name(), "not ejected: {why}");
                // Failures during the outage must not count later.
                instance.clear_failures();
                continue;
            }
            if self.pools.get(pool).eject(&instance, reason, policy, Instant::now()) {
                self.telemetry.routing.count_ejection(pool, reason);
            }
        }
    }
}

impl Ejector {
    /// Whether a shared dependency failed: no other instance is ready, and some report so. The
    /// first ready one decides at once.
    async fn is_shared(&self, pool: PoolName, suspect: &Arc<Instance>) -> bool {
        let others: Vec<_> = self.pools.get(pool).hosts(|hosts| {
            let healthy = hosts.iter().filter(|host| host.state() == InstanceState::Healthy);
            let others = healthy
                .filter(|host| host.instance().is_some_and(|known| !Arc::ptr_eq(known, suspect)));
            others.map(Host::addr).collect()
        });
        let mut responses: FuturesUnordered<_> =
            others.into_iter().map(|addr| self.prober.readiness(pool, addr)).collect();
        let mut some_not_ready = false;
        while let Some(ready) = responses.next().await {
            match ready {
                Some(true) => return false,
                Some(false) => some_not_ready = true,
                None => {}
            }
        }
        some_not_ready
    }
}
