//! Outlier ejection: an instance that keeps failing requests is left out for a while, whatever its health checks say.
//!
//! The data path counts failures in a row and reports whom it suspects; [`Ejector`] decides, behind the pool's lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use http::header::RETRY_AFTER;
use pingora::http::ResponseHeader;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;
use tokio::sync::{Mutex, mpsc};

use crate::pool::prober::Prober;
use crate::pool::{Instance, Pools, Slot, Witness};
use crate::telemetry::Telemetry;

/// How many suspicions may wait for a decision. One that finds no place is raised again after as many failures more.
const BACKLOG: usize = 64;

/// How long an instance may take to say whether it is ready. It gives its dependencies a second.
const READINESS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// When an instance is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that eject it; at least 1.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub base: Duration,
    /// How long an ejection lasts at most.
    pub max: Duration,
    /// How many per cent of a pool may be out at once, whatever the reason. The last instance that is left never goes.
    pub max_percent: u32,
}

/// How an instance failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It answered with a fault of its own.
    Errors,
    /// It did not answer in time.
    Timeouts,
    /// It did not take the connection, or broke it.
    Connections,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Timeouts, Self::Connections];

    /// The reason as it stands in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Timeouts => "timeouts",
            Self::Connections => "connections",
        }
    }

    /// The reason as it stands in the control API.
    pub fn describe(self, failures: u32) -> String {
        match self {
            Self::Errors => format!("{failures} requests in a row were answered with a server error"),
            Self::Timeouts => format!("{failures} requests in a row were not answered in time"),
            Self::Connections => format!("{failures} connections in a row failed or broke"),
        }
    }
}

/// What an answer says of the instance that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Good,
    /// It failed.
    Bad,
    /// It says nothing: the fault lies with what all instances depend on.
    Unclear,
}

/// Reads an answer. A 503 with `Retry-After` is how the services tell that Redis or the database is away, which no other
/// instance could mend.
pub fn standing(response: &ResponseHeader) -> Standing {
    match response.status {
        StatusCode::SERVICE_UNAVAILABLE if response.headers.contains_key(RETRY_AFTER) => Standing::Unclear,
        StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Standing::Bad,
        _ => Standing::Good,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_instances_would_say_is_held_against_none() {
        let standing = |status: u16, retry_after: Option<&str>| {
            let mut response = ResponseHeader::build(status, None).expect("a response");
            if let Some(seconds) = retry_after {
                response.insert_header(RETRY_AFTER, seconds).expect("a header");
            }
            standing(&response)
        };
        assert_eq!(standing(503, Some("1")), Standing::Unclear);
        for status in [500, 502, 503, 504] {
            assert_eq!(standing(status, None), Standing::Bad, "{status}");
        }
        for status in [200, 304, 404, 429, 501, 505] {
            assert_eq!(standing(status, None), Standing::Good, "{status}");
        }
    }
}
