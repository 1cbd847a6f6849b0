//! Discovery and health checks at work, and what must be healthy before the data plane begins.

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
use crate::pool::{Occasion, Pools, Slot};
use crate::telemetry::Telemetry;

/// How long a successor checks instances until one is healthy in each pool where the running gateway has one.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two looks at them.
const PAUSE: Duration = Duration::from_millis(250);

/// Checks every instance of every pool, as the configuration says at the time.
pub struct HealthChecks<M> {
    /// The pools.
    pub pools: Arc<Pools>,
    /// How instances are checked, and each change of that.
    pub config: watch::Receiver<config::HealthChecks>,
    /// How DNS is queried, and each change of that.
    pub discovery: watch::Receiver<config::Discovery>,
    /// Counts lookups.
    pub telemetry: Arc<Telemetry>,
    /// What waits for the first checks.
    pub first: FirstChecks<M>,
    /// What this gateway is to instances.
    pub identity: Identity,
}

/// What happens after the first checks.
pub struct FirstChecks<M> {
    /// The pools that must have a healthy instance before a successor takes over; `None` for who succeeds nobody.
    pub needed: Option<Vec<PoolName>>,
    /// Gives a successor leave to begin.
    pub main: mpsc::Sender<M>,
}

/// Every instance was asked once.
pub struct Checked {
    /// Lets the data plane begin.
    pub go: oneshot::Sender<()>,
    /// A pool that must have a healthy instance and has none.
    pub unhealthy: Option<PoolName>,
}

#[async_trait]
impl<M: From<Checked> + Send + 'static> BackgroundService for HealthChecks<M> {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let mut config = self.config.clone();
        let current = *config.borrow_and_update();
        let prober = Prober::configured(&current, &self.identity);
        let how = *self.discovery.borrow();
        discovery::look_up_all(&self.pools, how, Occasion::Start, &self.telemetry, None).await;
        self.probe_all(&prober).await;
        if let Some(needed) = &self.first.needed {
            let unhealthy = self.await_healthy(&prober, needed).await;
            let (go, begin) = oneshot::channel();
            let _main_has_gone = self.first.main.send(Checked { go, unhealthy }.into());
            if begin.await.is_err() {
                // This process ends.
                return;
            }
        }
        ready.notify_ready();
        self.watch(prober, current.interval, config, &mut shutdown).await;
    }
}

impl<M> HealthChecks<M> {
    async fn probe_all(&self, prober: &Prober) {
        join_all(self.pools.iter().map(|pool| prober.probe_pool(pool))).await;
    }

    /// Checks until each of these pools has a healthy instance; tells one that has none in the end.
    async fn await_healthy(&self, prober: &Prober, needed: &[PoolName]) -> Option<PoolName> {
        let is_well = |slots: &[Slot]| slots.iter().any(|slot| slot.state() == InstanceState::Healthy);
        let begun = Instant::now();
        loop {
            let lacking = needed.iter().find(|name| !self.pools.get(**name).slots(is_well));
            match lacking {
                Some(_) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                    self.probe_all(prober).await;
                }
                lacking => return lacking.copied(),
            }
        }
    }

    /// Checks, and asks DNS, at every interval until the gateway stops.
    async fn watch(
        &self,
        mut prober: Prober,
        mut every: Duration,
        mut config: watch::Receiver<config::HealthChecks>,
        shutdown: &mut ShutdownWatch,
    ) {
        let mut discovery = self.discovery.clone();
        loop {
            let how = *discovery.borrow_and_update();
            let watch = join_all(self.pools.iter().map(|pool| prober.watch(Arc::clone(pool), every)));
            tokio::select! {
                _ = watch => {}
                () = discovery::watch(Arc::clone(&self.pools), how, &self.telemetry, &prober) => {}
                Ok(()) = config.changed() => {}
                Ok(()) = discovery.changed() => {}
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            }
            let current = *config.borrow_and_update();
            prober = Prober::configured(&current, &self.identity);
            every = current.interval;
        }
    }
}
