//! Sends many malformed requests, each as a connection's first request and behind a valid one, and
//! checks that no other client notices.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{check, is_own};
use crate::testing::random::number_from;
use crate::testing::wire::{Client, Received, Recorder, Seen, Step, address, shown};

/// The path of valid requests.
const INFO: &str = "/api/v1/stateless/info";
/// Clients at a time that do not wait for the end of a request that is not complete.
const ACTIVE: usize = 8;
/// For valid requests.
const LONG_SILENCE: Duration = Duration::from_secs(20);
/// No further case begins after so many failures.
const MAX_FAILURES: usize = 5;

/// What the requests are sent to.
pub trait Target: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Cases at a time.
    const LANES: usize;
    /// Without a byte for so long, it waits for more of the request.
    const SILENCE: Duration;

    /// A connection from this address.
    fn connect(&self, from: IpAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The request of this number.
    fn request(&self, number: u64) -> Vec<u8>;

    /// Checks what became of this request from this client, behind `before` valid ones.
    ///
    /// # Errors
    /// What must not happen.
    fn check(
        &self,
        _request: &[u8],
        received: &Received,
        seen: &[Seen],
        client: IpAddr,
        before: usize,
    ) -> Result<(), String> {
        check(received, seen, client, before)
    }
}

/// What a run did.
#[derive(Debug)]
pub struct Summary {
    /// Malformed requests, each sent twice.
    pub done: u64,
    /// How many a second.
    pub rate: f64,
    /// How many of those sent reached the instance.
    pub reached: usize,
    /// What must not happen, with the number that repeats it.
    pub failures: Vec<String>,
}

/// The numbers of `FUZZ_CASE` or `FUZZ_CASES` of the environment, else so many.
pub fn numbers(cases: u64) -> Range<u64> {
    match number_from("FUZZ_CASE") {
        Some(number) => number..number + 1,
        None => 0..number_from("FUZZ_CASES").unwrap_or(cases),
    }
}

/// Sends the requests of these numbers. The recorder is the only instance behind the target.
///
/// # Panics
/// When a check panics.
pub async fn run<T: Target>(
    target: T,
    recorder: Arc<Recorder>,
    mut numbers: Range<u64>,
) -> Summary {
    let bench = Arc::new(Bench { target, recorder, active: Semaphore::new(ACTIVE) });
    let (began, mut done, mut reached) = (Instant::now(), 0_u64, 0);
    let (mut lanes, mut failures) = (JoinSet::new(), Vec::new());
    loop {
        while lanes.len() < T::LANES
            && failures.len() < MAX_FAILURES
            && let Some(number) = numbers.next()
        {
            let bench = Arc::clone(&bench);
            lanes.spawn(async move { bench.check(number).await });
        }
        let Some(ended) = lanes.join_next().await else { break };
        done += 1;
        match ended.unwrap_or_else(|error| panic!("a case panicked: {error}")) {
            Ok(arrived) => reached += arrived,
            Err(failure) => failures.push(failure),
        }
    }
    Summary { done, rate: done as f64 / began.elapsed().as_secs_f64(), reached, failures }
}

/// What all cases share.
struct Bench<T> {
    target: T,
    recorder: Arc<Recorder>,
    active: Semaphore,
}

impl<T: Target> Bench<T> {
    /// Returns how often the instance received the request.
    async fn check(&self, number: u64) -> Result<usize, String> {
        let bytes = self.target.request(number);
        let get = |fields: &str| format!("GET {INFO} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into();
        let first = vec![Step::Send(bytes.clone())];
        let later = vec![Step::Send(get("")), Step::Await, Step::Send(bytes.clone())];
        let mut reached = 0;
        for (turn, steps) in [first, later].iter().enumerate() {
            let failed = |fault| format!("FUZZ_CASE={number}: {fault}\n{}", shown(steps));
            let client = address(3 * number + turn as u64);
            let received = self.send(client, T::SILENCE, steps).await.map_err(failed)?;
            let seen = self.recorder.take(client);
            self.target.check(&bytes, &received, &seen, client, turn).map_err(failed)?;
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
        let stream = self.target.connect(from).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let received = Client::new(stream, silence, Some(permit)).run(steps).await;
        received.fault.clone().map_or(Ok(received), Err)
    }
}
