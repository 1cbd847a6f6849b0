//! The background service of discovery and health checks, and the condition for the data plane to
//! start.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;
use tokio::sync::{oneshot, watch};

use crate::config::{self, Identity};
use crate::health_check::discovery;
use crate::health_check::prober::Prober;
use crate::pool::{Host, LookupPhase, Pools};
use crate::telemetry::Telemetry;

/// Hot restart: how long the new process waits for a healthy instance in each pool where the old
/// one has one.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between those checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Checks all instances and resolves DNS, with the current configuration.
pub struct HealthCheckService<M> {
    /// The pools.
    pub pools: Arc<Pools>,
    /// The current settings of health checks.
    pub config: watch::Receiver<config::HealthCheckConfig>,
    /// The current settings of discovery.
    pub discovery: watch::Receiver<config::DiscoveryConfig>,
    /// Counts lookups.
    pub telemetry: Arc<Telemetry>,
    /// What to do after the first checks.
    pub first: FirstChecks<M>,
    /// How this gateway identifies itself to instances.
    pub identity: Identity,
}

/// What to do after the first checks.
pub struct FirstChecks<M> {
    /// Hot restart: the pools that need a healthy instance before the takeover; `None`: a fresh
    /// start.
    pub needed: Option<Vec<PoolName>>,
    /// Receives [`Checked`].
    pub main: mpsc::Sender<M>,
}

/// The first checks are done.
pub struct Checked {
    /// Lets the data plane begin.
    pub go: oneshot::Sender<()>,
    /// A pool without the healthy instance that it needs.
    pub unhealthy: Option<PoolName>,
}

#[async_trait]
impl<M: From<Checked> + Send + 'static> BackgroundService for HealthCheckService<M> {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let mut config = self.config.clone();
        let current = *config.borrow_and_update();
        let prober = Prober::configured(&current, &self.identity);
        let how = *self.discovery.borrow();
        discovery::lookup_all(&self.pools, how, LookupPhase::Start, &self.telemetry, None).await;
        self.probe_all(&prober).await;
        if let Some(needed) = &self.first.needed {
            let unhealthy = self.await_healthy(&prober, needed).await;
            let (go, begin) = oneshot::channel();
            let _main_has_gone = self.first.main.send(Checked { go, unhealthy }.into());
            if begin.await.is_err() {
                // This process is stopping.
                return;
            }
        }
        ready.notify_ready();
        self.watch(prober, current.interval, config, &mut shutdown).await;
    }
}

impl<M> HealthCheckService<M> {
    async fn probe_all(&self, prober: &Prober) {
        join_all(self.pools.iter().map(|pool| prober.probe_pool(pool))).await;
    }

    /// Checks until each of these pools has a healthy instance. Returns one that has none at the
    /// timeout.
    async fn await_healthy(&self, prober: &Prober, needed: &[PoolName]) -> Option<PoolName> {
        let has_healthy =
            |hosts: &[Host]| hosts.iter().any(|host| host.state() == InstanceState::Healthy);
        let begun = Instant::now();
        loop {
            let lacking = needed.iter().find(|name| !self.pools.get(**name).hosts(has_healthy));
            match lacking {
                Some(_) if begun.elapsed() < HEALTHY_TIMEOUT => {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                    self.probe_all(prober).await;
                }
                lacking => return lacking.copied(),
            }
        }
    }

    /// Checks and resolves at every interval until the gateway stops.
    async fn watch(
        &self,
        mut prober: Prober,
        mut every: Duration,
        mut config: watch::Receiver<config::HealthCheckConfig>,
        shutdown: &mut ShutdownWatch,
    ) {
        let mut discovery = self.discovery.clone();
        // The instances were checked just now. After a change of the settings they are at once.
        let mut first = every;
        loop {
            let how = *discovery.borrow_and_update();
            let watch = join_all(
                self.pools.iter().map(|pool| prober.watch(Arc::clone(pool), first, every)),
            );
            tokio::select! {
                _ = watch => {}
                () = discovery::watch(Arc::clone(&self.pools), how, &self.telemetry, &prober) => {}
                Ok(()) = config.changed() => {}
                Ok(()) = discovery.changed() => {}
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            }
            let current = *config.borrow_and_update();
            prober = prober.reconfigured(&current);
            (first, every) = (Duration::ZERO, current.interval);
        }
    }
}
