//! Malformed requests by the thousand, each as a connection's first request and behind a valid one:
//! an instance sees at most the one request that it should, and the next client gets its own
//! response.
//!
//! `make hostile-requests` runs 8,000. A failure prints its `FUZZ_CASE`, which repeats it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::testing::hostile::{self, is_own};
use service_kit::testing::random::number_from;
use service_kit::testing::wire::{Client, Received, Recorder, Step, connect, shown};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::raw_table;
use crate::testbed::{INFO, Setup};

/// Cases of a run without a number from the environment.
const CASES: u64 = 600;
/// Cases at a time.
const LANES: usize = 256;
/// Clients at a time that do not wait for the end of a request that is not complete.
const ACTIVE: usize = 8;
/// Without a byte for so long, the gateway waits for more of the request.
const SILENCE: Duration = Duration::from_millis(500);
/// For valid requests.
const LONG_SILENCE: Duration = Duration::from_secs(20);

/// What all cases share.
struct Bench {
    gateway: SocketAddr,
    recorder: Arc<Recorder>,
    others: Vec<Vec<u8>>,
    active: Semaphore,
}

#[test]
fn a_malformed_request_affects_no_other() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let recorder = Arc::<Recorder>::default();
    let gateway = Setup::new()
        // All requests share connections to the instance.
        .threads(1)
        .stateless_at(runtime.block_on(recorder.instance("stateless-1")))
        .section(
            "[rate_limit]\nrequests_per_second = 0\n[clients]\nmax_requests = 0\n\
             [overload]\nlatency_target_ms = 0",
        )
        .checked_once()
        .start();
    let bench = Arc::new(Bench {
        gateway: gateway.addr,
        recorder: Arc::clone(&recorder),
        others: raw_table::requests(),
        active: Semaphore::new(ACTIVE),
    });
    let numbers = match number_from("FUZZ_CASE") {
        Some(number) => number..number + 1,
        None => 0..number_from("FUZZ_CASES").unwrap_or(CASES),
    };
    let failures = runtime.block_on(run(&bench, numbers));
    assert_eq!(recorder.faults(), Vec::<String>::new(), "the instance received no request");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

async fn run(bench: &Arc<Bench>, mut numbers: std::ops::Range<u64>) -> Vec<String> {
    let (began, mut done, mut reached) = (Instant::now(), 0_u64, 0);
    let (mut lanes, mut failures) = (JoinSet::new(), Vec::new());
    loop {
        while lanes.len() < LANES
            && failures.len() < 5
            && let Some(number) = numbers.next()
        {
            let bench = Arc::clone(bench);
            lanes.spawn(async move { bench.check(number).await });
        }
        let Some(ended) = lanes.join_next().await else { break };
        done += 1;
        match ended.expect("no panic") {
            Ok(arrived) => reached += arrived,
            Err(failure) => failures.push(failure),
        }
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    eprintln!(
        "{done} malformed requests, each as a first and as a later one, {rate:.0} a second; \
         {reached} were valid, and reached the instance"
    );
    failures
}

impl Bench {
    /// Returns how often the instance received the request.
    async fn check(&self, number: u64) -> Result<usize, String> {
        let bytes = hostile::request(number, &self.others);
        let get = |fields: &str| format!("GET {INFO} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into();
        let first = vec![Step::Send(bytes.clone())];
        let later = vec![Step::Send(get("")), Step::Await, Step::Send(bytes)];
        let mut reached = 0;
        for (turn, steps) in [first, later].iter().enumerate() {
            let failed = |fault| format!("FUZZ_CASE={number}: {fault}\n{}", shown(steps));
            let client = address(3 * number + turn as u64);
            let received = self.send(client, SILENCE, steps).await.map_err(failed)?;
            let seen = self.recorder.take(client);
            hostile::check(&received, &seen, client, turn).map_err(failed)?;
            reached += seen.len().saturating_sub(turn);

            let next = address(3 * number + 2);
            let steps = [Step::Send(get("connection: close\r\n"))];
            let received = self.send(next, LONG_SILENCE, &steps).await.map_err(failed)?;
            is_own(&received, next).map_err(failed)?;
            let statuses: Vec<_> = received.replies.iter().map(|reply| reply.status).collect();
            if statuses != [200] || self.recorder.take(next).len() != 1 {
                return Err(failed(format!("the next client received {statuses:?}")));
            }
        }
        Ok(reached)
    }

    async fn send(
        &self,
        from: IpAddr,
        silence: Duration,
        steps: &[Step],
    ) -> Result<Received, String> {
        let permit = self.active.acquire().await.expect("it is open");
        let stream = connect(self.gateway, from).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let received = Client::new(stream, silence, Some(permit)).run(steps).await;
        received.fault.clone().map_or(Ok(received), Err)
    }
}

/// An address of its own for each client.
fn address(number: u64) -> IpAddr {
    let [.., a, b, c] = (number + 0x0001_0000).to_be_bytes();
    Ipv4Addr::new(127, a, b, c).into()
}
