//! The same bytes to a gateway with the plain exchange, and to one with Pingora's proxy: what the
//! instances receive, what the client receives, and whether the connection is kept must be equal.
//!
//! It runs a fixed number of cases. `make fuzz-engines` runs random ones for `FUZZ_SECONDS`, or so
//! many as `FUZZ_CASES` says. A failure prints its `FUZZ_CASE`, which repeats that one case.

mod cases;
mod compare;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::differential::cases::{Case, Corpus};
use crate::differential::compare::{Named, Outcome, compare};
use crate::testbed::{Setup, TestGateway};
use service_kit::testing::random::number_from;
use service_kit::testing::wire::{Client, Recorder, address, connect, shown};

/// Cases of a run without limits from the environment.
const CASES: u64 = 1_500;
/// Cases at a time.
const LANES: usize = 384;
/// Clients at a time that do not wait for the end of a request that is not complete.
const ACTIVE: usize = 8;
/// Without a byte for so long, a gateway waits for more of the request.
const SILENCE: Duration = Duration::from_secs(1);
/// The same for a case that is repeated: on a busy machine a response may take longer.
const LONG_SILENCE: Duration = Duration::from_secs(5);
/// A difference must repeat so many times.
const REPEATS: usize = 2;
/// The run ends after so many differences.
const MAX_FAILURES: usize = 5;

/// A gateway, its instances and their record.
struct Side {
    gateway: TestGateway,
    recorder: Arc<Recorder>,
}

impl Side {
    fn start(runtime: &Runtime, engine: &'static str) -> Self {
        let recorder = Arc::<Recorder>::default();
        let instance = |name| runtime.block_on(recorder.instance(name));
        let gateway = Setup::new()
            .engine(engine)
            .stateless_at(instance("stateless-1"))
            .stateful_at(instance("stateful-1"))
            .section(
                "[rate_limit]\nrequests_per_second = 0\n[clients]\nmax_requests = 0\n\
                 max_streams = 0\n[overload]\nlatency_target_ms = 0",
            )
            .checked_once()
            .start();
        Self { gateway, recorder }
    }
}

/// What all cases share.
struct Bench {
    addrs: [SocketAddr; 2],
    recorders: [Arc<Recorder>; 2],
    corpus: Corpus,
    active: Semaphore,
    /// Held while a case is repeated, so that a stall does not grow by its repetitions.
    repeated: Mutex<()>,
    clients: AtomicU32,
}

/// The result of a case.
#[derive(Debug)]
enum Verdict {
    Same,
    Named(Named),
    /// It did not repeat.
    Once(String),
    Differs(String),
}

#[test]
fn both_engines_treat_the_same_bytes_alike() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sides = ["plain", "pingora"].map(|engine| Side::start(&runtime, engine));
    let bench = Arc::new(Bench {
        addrs: sides.each_ref().map(|side| side.gateway.addr),
        recorders: sides.each_ref().map(|side| Arc::clone(&side.recorder)),
        corpus: Corpus::read(),
        active: Semaphore::new(ACTIVE),
        repeated: Mutex::default(),
        clients: AtomicU32::new(0),
    });
    if let Some(number) = number_from("FUZZ_CASE") {
        let case = Case::new(number, &bench.corpus);
        eprintln!("{}", shown(&case.steps));
        let verdict = runtime.block_on(bench.check(&case));
        assert!(matches!(verdict, Verdict::Same | Verdict::Named(_)), "{verdict:#?}");
        return;
    }
    let failures = runtime.block_on(run(&bench));
    for recorder in &bench.recorders {
        assert_eq!(recorder.faults(), Vec::<String>::new(), "an instance received no request");
    }
    assert!(failures == 0, "{failures} cases differ");
}

/// Runs cases until the limit. Returns how many differ.
async fn run(bench: &Arc<Bench>) -> usize {
    let (seconds, cases) = (number_from("FUZZ_SECONDS"), number_from("FUZZ_CASES"));
    let is_limited = seconds.is_some() || cases.is_some();
    let most = cases.unwrap_or(if is_limited { u64::MAX } else { CASES });
    let time = seconds.map_or(Duration::MAX, Duration::from_secs);
    let first: u64 = if is_limited { rand::random() } else { 0 };
    let (began, mut done, mut next) = (Instant::now(), 0_u64, 0_u64);
    let (mut named, mut failures, mut once) = (BTreeMap::<Named, u64>::new(), 0, 0_u64);
    let mut lanes = JoinSet::new();
    loop {
        while lanes.len() < LANES
            && next < most
            && began.elapsed() < time
            && failures < MAX_FAILURES
        {
            let (bench, number) = (Arc::clone(bench), first.wrapping_add(next));
            next += 1;
            lanes.spawn(async move {
                let case = Case::new(number, &bench.corpus);
                let verdict = bench.check(&case).await;
                (number, case, verdict)
            });
        }
        let Some(ended) = lanes.join_next().await else { break };
        let (number, case, verdict) = ended.expect("no panic");
        done += 1;
        match verdict {
            Verdict::Same => {}
            Verdict::Named(difference) => *named.entry(difference).or_default() += 1,
            Verdict::Once(difference) => {
                once += 1;
                eprintln!(
                    "FUZZ_CASE={number} differed once: {difference}\n{}\n",
                    shown(&case.steps)
                );
            }
            Verdict::Differs(difference) => {
                failures += 1;
                eprintln!("FUZZ_CASE={number} differs: {difference}\n{}\n", shown(&case.steps));
            }
        }
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    eprintln!("{done} cases, {rate:.0} a second; named differences: {named:?}; once: {once}");
    failures
}

impl Bench {
    async fn check(&self, case: &Case) -> Verdict {
        let permits = async || self.active.acquire_many(2).await.expect("it is open");
        let first = {
            let mut permit = permits().await;
            let other = permit.split(1);
            self.compare(case, SILENCE, [Some(permit), other]).await
        };
        let difference = match first {
            Ok(None) => return Verdict::Same,
            Ok(Some(named)) => return Verdict::Named(named),
            Err(difference) => difference,
        };
        let _turn = self.repeated.lock().await;
        for _ in 0..REPEATS {
            if self.compare(case, LONG_SILENCE, [None, None]).await.is_ok() {
                return Verdict::Once(difference);
            }
        }
        Verdict::Differs(difference)
    }

    async fn compare<'a>(
        &'a self,
        case: &Case,
        silence: Duration,
        active: [Option<tokio::sync::SemaphorePermit<'a>>; 2],
    ) -> Result<Option<Named>, String> {
        let from = address(self.clients.fetch_add(1, Ordering::Relaxed).into());
        let [plain, pingora] = active;
        let (plain, pingora) = tokio::join!(
            self.outcome(0, case, from, silence, plain),
            self.outcome(1, case, from, silence, pingora)
        );
        compare(case, &plain?, &pingora?)
    }

    async fn outcome<'a>(
        &'a self,
        side: usize,
        case: &Case,
        from: IpAddr,
        silence: Duration,
        active: Option<tokio::sync::SemaphorePermit<'a>>,
    ) -> Result<Outcome, String> {
        let stream = connect(self.addrs[side], from).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let received = Client::new(stream, silence, active).run(&case.steps).await;
        Ok(Outcome { seen: self.recorders[side].take(from), received })
    }
}
