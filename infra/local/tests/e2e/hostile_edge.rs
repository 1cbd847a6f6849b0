//! Malformed requests by the thousand through Nginx, each as a connection's first request and
//! behind a valid one: an instance sees at most the one request that it should, and the next client
//! gets its own response.
//!
//! `make hostile-requests` runs 8,000. A failure prints its `FUZZ_CASE`, which repeats it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto_contracts::control::{Instance, InstanceState};
use proto_contracts::{InstanceName, PoolName};
use rustls::pki_types::ServerName;
use service_kit::testing::hostile::{self, is_own};
use service_kit::testing::random::number_from;
use service_kit::testing::wire::{Client, Received, Recorder, Seen, Step, connect, shown};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::raw::connector;
use crate::small_stack;
use crate::until::until;

/// Cases of a run without a number from the environment.
const CASES: u64 = 200;
/// Cases at a time.
const LANES: usize = 128;
/// Clients at a time that do not wait for the end of a request that is not complete.
const ACTIVE: usize = 8;
/// Without a byte for so long, Nginx waits for more of the request.
const SILENCE: Duration = Duration::from_secs(1);
/// For valid requests.
const LONG_SILENCE: Duration = Duration::from_secs(20);
const INFO: &str = "/api/v1/stateless/info";
/// The instance that records what it is sent.
const NAME: &str = "recorder-1";

/// What all cases share.
struct Bench {
    nginx: SocketAddr,
    tls: TlsConnector,
    recorder: Arc<Recorder>,
    active: Semaphore,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_affects_no_other_at_the_edge() -> Result<()> {
    let stack = small_stack().stateful(1).lenient_gateway().with_nginx().start().await?;
    let recorder = Arc::<Recorder>::default();
    let control = stack.control();
    control.add(PoolName::Stateless, recorder.instance(NAME).await).await?;
    until("the recorder serves", || async {
        let pool = control.pool(PoolName::Stateless).await?;
        let serves = |instance: &Instance| {
            let name = instance.name.as_ref().map(InstanceName::as_str);
            name == Some(NAME) && instance.state == InstanceState::Healthy
        };
        Ok(pool.instances.iter().any(serves).then_some(()))
    })
    .await?;
    control.remove(PoolName::Stateless, "stateless-1").await?;
    let bench = Arc::new(Bench {
        nginx: stack.addr_of("nginx")?,
        tls: connector(&stack)?,
        recorder: Arc::clone(&recorder),
        active: Semaphore::new(ACTIVE),
    });
    let numbers = match number_from("FUZZ_CASE") {
        Some(number) => number..number + 1,
        None => 0..number_from("FUZZ_CASES").unwrap_or(CASES),
    };
    let failures = run(&bench, numbers).await?;
    assert_eq!(recorder.faults(), Vec::<String>::new(), "the instance received no request");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    stack.shutdown().await;
    Ok(())
}

async fn run(bench: &Arc<Bench>, mut numbers: std::ops::Range<u64>) -> Result<Vec<String>> {
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
        match ended.context("a case panicked")? {
            Ok(arrived) => reached += arrived,
            Err(failure) => failures.push(failure),
        }
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    eprintln!(
        "{done} malformed requests through Nginx, each as a first and as a later one, {rate:.0} a \
         second; {reached} reached the instance"
    );
    Ok(failures)
}

impl Bench {
    /// Returns how often the instance received the request.
    async fn check(&self, number: u64) -> Result<usize, String> {
        let bytes = hostile::request(number, &[]);
        let get = |fields: &str| format!("GET {INFO} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into();
        // Nginx keeps a connection if the last of several such fields says so, and may then serve
        // what follows as a request of its own.
        let closes = !bytes.to_ascii_lowercase().windows(10).any(|some| some == b"keep-alive");
        let first = vec![Step::Send(bytes.clone())];
        let later = vec![Step::Send(get("")), Step::Await, Step::Send(bytes)];
        let mut reached = 0;
        for (turn, steps) in [first, later].iter().enumerate() {
            let failed = |fault| format!("FUZZ_CASE={number}: {fault}\n{}", shown(steps));
            let client = address(3 * number + turn as u64);
            let received = self.send(client, SILENCE, steps).await.map_err(failed)?;
            let seen = self.recorder.take(client);
            if closes {
                hostile::check(&received, &seen, client, turn).map_err(failed)?;
            } else {
                each_has_its_response(&received, &seen, client).map_err(failed)?;
            }
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
        let permit = self.active.acquire().await.map_err(|error| error.to_string())?;
        let connected = async {
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            self.tls.connect(name, connect(self.nginx, from).await?).await
        };
        let stream = connected.await.map_err(|error| format!("cannot connect: {error}"))?;
        let received = Client::new(stream, silence, Some(permit)).run(steps).await;
        received.fault.clone().map_or(Ok(received), Err)
    }
}

/// Checks that Nginx and the gateway agree on the number of requests.
fn each_has_its_response(received: &Received, seen: &[Seen], client: IpAddr) -> Result<(), String> {
    let finals = received.replies.iter().filter(|reply| reply.status >= 200).count();
    // A client that ended its side may have missed the last one.
    if seen.len() > finals + usize::from(received.kept) {
        return Err(format!("{} requests arrived, and {finals} responses", seen.len()));
    }
    is_own(received, client)
}

/// An address of its own for each client.
fn address(number: u64) -> IpAddr {
    let [.., a, b, c] = (number + 0x0001_0000).to_be_bytes();
    Ipv4Addr::new(127, a, b, c).into()
}
