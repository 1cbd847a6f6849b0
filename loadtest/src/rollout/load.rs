//! Requests of all kinds at fixed times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cli::RolloutArgs;
use crate::client::Client;
use crate::phase::perform;
use crate::plan::{Affinity, SessionMix};
use crate::recorder::ErrorKind;
use crate::scenario::{Conversations, InfoCalls, Scenario};
use crate::target::Target;

/// Messages and reads of each session: as many writes as reads, the create among them.
const MIX: SessionMix = SessionMix { messages: 4, reads: 4, affinity: Affinity::Path };

/// What failed, with the time since the begin of the run.
pub(super) struct Failures {
    begin: Instant,
    /// Rare, or the run is a failure anyway.
    all: Mutex<Vec<(Duration, String)>>,
}

impl Failures {
    pub(super) fn starting_at(begin: Instant) -> Self {
        Self { begin, all: Mutex::default() }
    }

    /// Notes one.
    pub(super) fn add(&self, what: String) {
        let at = self.begin.elapsed();
        eprintln!("{:>7.1} s  failed: {what}", at.as_secs_f64());
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push((at, what));
    }

    /// All of them, in the order of time.
    pub(super) fn all(&self) -> Vec<(Duration, String)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One connection's share of the load.
pub(super) struct Worker {
    client: Client,
    number: u32,
    workers: u32,
    rate: u32,
    timeout: Duration,
    seed: u64,
    failures: Arc<Failures>,
}

impl Worker {
    pub(super) fn new(args: &RolloutArgs, number: u32, target: Arc<Target>, failures: Arc<Failures>) -> Self {
        Self {
            client: Client::new(target),
            number,
            workers: args.connections.get(),
            rate: args.rate.get(),
            timeout: args.timeout,
            seed: args.seed,
            failures,
        }
    }

    /// Sends requests at their times until it is stopped, and tells how many. Every other worker calls the stateless service,
    /// the others hold conversations, in which a lost message is a failure too.
    pub(super) async fn work(self, begin: Instant, stopped: watch::Receiver<bool>) -> u64 {
        let number = u64::from(self.number);
        if number.is_multiple_of(2) {
            self.play(InfoCalls::new(), begin, stopped).await
        } else {
            let conversations = Conversations::new(MIX, self.seed, number);
            self.play(conversations, begin, stopped).await
        }
    }

    async fn play(mut self, mut scenario: impl Scenario, begin: Instant, stopped: watch::Receiver<bool>) -> u64 {
        let pause = Duration::from_secs(1) * self.workers / self.rate;
        // Spread over the pause, and due by the clock: one that waits for an answer makes up for it.
        let mut due = begin + pause * self.number / self.workers;
        let mut count = 0;
        while !*stopped.borrow() {
            tokio::time::sleep_until(due.into()).await;
            due += pause;
            let deadline = Instant::now() + self.timeout;
            let (operation, outcome) = perform(&mut self.client, &mut scenario, deadline, ErrorKind::Timeout).await;
            count += 1;
            if let Err(kind) = outcome {
                self.failures.add(format!("{} {kind}", operation.as_str()));
            }
        }
        count
    }
}
