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

use crate::health_check::prober::Prober;
use crate::pool::{Instance, Pools, Slot, Witness};
use crate::resilience::outlier::{Policy, Reason};
use crate::telemetry::Telemetry;

/// How many suspicions may wait for a decision. One that finds no place is raised again after as many failures more.
const BACKLOG: usize = 64;

/// How long an instance may take to say whether it is ready. It gives its dependencies a second.
const READINESS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// An instance that has failed too often.
#[derive(Debug)]
struct Suspect {
    pool: PoolName,
    instance: Arc<Instance>,
    reason: Reason,
    policy: Policy,
}

/// Takes note of how instances fare.
#[derive(Debug)]
pub struct Reporter(mpsc::Sender<Suspect>);

impl Reporter {
    /// Notes that the instance failed a request of this client, `None` for one whom no limit concerns. Without a policy
    /// nothing is counted.
    ///
    /// One client alone ejects no instance, whatever it sends: its requests may be what fails. Others' failures have to
    /// come between, or the health checks have to find out.
    pub fn failed(
        &self,
        pool: PoolName,
        instance: &Arc<Instance>,
        reason: Reason,
        client: Option<Witness>,
        policy: Option<Policy>,
    ) {
        let Some(policy) = policy else { return };
        if reason == Reason::Timeouts {
            instance.note_timeout(Instant::now());
        }
        // At each multiple, so that an instance that was spared is looked at again.
        let in_a_row = instance.count_failure(client);
        if in_a_row.is_some_and(|in_a_row| in_a_row.is_multiple_of(policy.consecutive_failures)) {
            let suspect = Suspect { pool, instance: Arc::clone(instance), reason, policy };
            let _raised_again_when_full = self.0.try_send(suspect);
        }
    }
}

/// Ejects suspects, as a service of its own.
pub struct Ejector {
    /// Taken once, when it starts; the service is shared, so that needs a lock.
    suspects: Mutex<mpsc::Receiver<Suspect>>,
    pools: Arc<Pools>,
    prober: Prober,
    telemetry: Arc<Telemetry>,
}

impl Ejector {
    /// An ejector for these pools, and who reports to it.
    pub fn new(pools: Arc<Pools>, telemetry: Arc<Telemetry>) -> (Self, Reporter) {
        let (reporter, suspects) = mpsc::channel(BACKLOG);
        (
            Self { suspects: Mutex::new(suspects), pools, prober: Prober::new(READINESS_TIMEOUT), telemetry },
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
                let why = "every other instance lacks what it depends on, too";
                tracing::warn!(%pool, instance = %instance.name(), "not ejected: {why}");
                // What failed for want of it says nothing of the time after.
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
    /// Whether the fault lies with what all instances depend on: all others say that they are not ready. One that is
    /// ready settles it at once, so an instance that fails alone is out without delay.
    async fn is_shared(&self, pool: PoolName, suspect: &Arc<Instance>) -> bool {
        let others: Vec<_> = self.pools.get(pool).slots(|slots| {
            let healthy = slots.iter().filter(|slot| slot.state() == InstanceState::Healthy);
            let others = healthy.filter(|slot| slot.instance().is_some_and(|known| !Arc::ptr_eq(known, suspect)));
            others.map(Slot::addr).collect()
        });
        let mut asked: FuturesUnordered<_> = others.into_iter().map(|addr| self.prober.readiness(addr)).collect();
        let mut some_lack_it = false;
        while let Some(ready) = asked.next().await {
            match ready {
                Some(true) => return false,
                Some(false) => some_lack_it = true,
                None => {}
            }
        }
        some_lack_it
    }
}
