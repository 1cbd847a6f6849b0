//! Requests of all kinds at set times, and event streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::outcome::ErrorKind;
use crate::perform::perform;
use crate::plan::{Affinity, SessionMix};
use crate::recorder::Performed;
use crate::rollout::args::SteadyLoad;
use crate::rollout::due_times::DueTimes;
use crate::rollout::failures::Failures;
use crate::rollout::latency::Latencies;
use crate::rollout::report::LoadReport;
use crate::rollout::streams::{self, Streams};
use crate::scenario::{Conversations, InfoCalls, Keyed, Scenario, UncachedPages};
use crate::target::Target;

/// Messages and reads of each session: as many writes as reads, the create among them.
const MIX: SessionMix = SessionMix { messages: 4, reads: 4, affinity: Affinity::Path };

/// Load that lasts until it is stopped.
pub(crate) struct Load {
    begin: Instant,
    rate: u32,
    stop: watch::Sender<bool>,
    failures: Arc<Failures>,
    latencies: Arc<Latencies>,
    requests: Arc<AtomicU64>,
    workers: JoinSet<()>,
    followers: JoinSet<Streams>,
}

impl Load {
    /// Starts workers and streams.
    pub(crate) fn start(how: &SteadyLoad, target: &Arc<Target>) -> Self {
        let begin = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let failures = Arc::new(Failures::starting_at(begin));
        let latencies = Arc::new(Latencies::new());
        let requests = Arc::<AtomicU64>::default();
        let mut workers = JoinSet::new();
        for number in 0..how.connections.get() {
            let worker = Worker {
                client: Client::new(Arc::clone(target)),
                number,
                workers: how.connections.get(),
                rate: how.rate.get(),
                timeout: how.timeout,
                seed: how.seed,
                idempotency_keys: how.idempotency_keys,
                requests: Arc::clone(&requests),
                failures: Arc::clone(&failures),
                latencies: Arc::clone(&latencies),
            };
            workers.spawn(worker.work(begin, stopped.clone()));
        }
        let mut followers = JoinSet::new();
        for _ in 0..how.streams {
            let (target, failures) = (Arc::clone(target), Arc::clone(&failures));
            followers.spawn(streams::follow(
                target,
                how.timeout,
                how.idempotency_keys,
                failures,
                stopped.clone(),
            ));
        }
        Self {
            begin,
            rate: how.rate.get(),
            stop,
            failures,
            latencies,
            requests,
            workers,
            followers,
        }
    }

    /// The latencies so far.
    pub(crate) fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// How long it has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How many requests have ended so far, failed or not.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Stops the load and returns its report.
    pub(crate) async fn stop(self) -> LoadReport {
        self.stop.send_replace(true);
        self.workers.join_all().await;
        let requests = self.requests.load(Ordering::Relaxed);
        let streams = self.followers.join_all().await.into_iter().sum();
        LoadReport::new(self.begin.elapsed(), self.rate, requests, streams, self.failures.all())
    }
}

/// One connection's share of the load.
struct Worker {
    client: Client,
    number: u32,
    workers: u32,
    rate: u32,
    timeout: Duration,
    seed: u64,
    idempotency_keys: bool,
    requests: Arc<AtomicU64>,
    failures: Arc<Failures>,
    latencies: Arc<Latencies>,
}

impl Worker {
    /// Sends requests at their times until it is stopped. Half of the workers use the stateless
    /// service, with and without its database. The others post to and read sessions, where a lost
    /// message is a failure, too.
    async fn work(self, begin: Instant, stopped: watch::Receiver<bool>) {
        let number = u64::from(self.number);
        match number % 4 {
            0 => self.run(InfoCalls::new(), begin, stopped).await,
            2 => self.run(UncachedPages::new(), begin, stopped).await,
            _ => {
                let conversations = Conversations::new(MIX, self.seed, number);
                match self.idempotency_keys {
                    true => self.run(Keyed(conversations), begin, stopped).await,
                    false => self.run(conversations, begin, stopped).await,
                }
            }
        }
    }

    async fn run(
        mut self,
        mut scenario: impl Scenario,
        begin: Instant,
        stopped: watch::Receiver<bool>,
    ) {
        let period = Duration::from_secs(1) * self.workers / self.rate;
        let seed = self.seed.rotate_left(32) ^ u64::from(self.number);
        for due in DueTimes::new(begin, period, seed) {
            tokio::time::sleep_until(due.into()).await;
            if *stopped.borrow() {
                return;
            }
            let stage = self.latencies.stage();
            let deadline = Instant::now() + self.timeout;
            let Performed { operation, outcome, .. } =
                perform(&mut self.client, &mut scenario, deadline, ErrorKind::Timeout).await;
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.latencies.record(stage, due.elapsed());
            if let Err(kind) = outcome {
                self.failures.add(format!("{} {kind}", operation.as_str()));
            }
        }
    }
}
