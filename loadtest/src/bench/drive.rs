//! A closed loop over many connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Response, ScenarioRequest, connected};
use crate::recorder::empty_histogram;
use crate::target::Target;

/// Timeout of a request; bounds the run on a hanging system.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Counts and latencies of a load.
pub(crate) struct Driven {
    /// Successful requests.
    pub(crate) good: u64,
    /// Failed requests.
    pub(crate) failed: u64,
    pub(crate) elapsed: Duration,
    /// Microseconds of each request.
    pub(crate) latencies: Histogram<u64>,
}

impl Driven {
    /// 99th percentile, milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.latencies.value_at_quantile(0.99) as f64 / 1000.0
    }
}

/// Sends the requests of `next` until it returns `None`. `judge` decides whether a response is
/// correct.
pub(crate) async fn drive(
    target: &Arc<Target>,
    connections: usize,
    next: impl FnMut() -> Option<ScenarioRequest> + Send + 'static,
    judge: impl FnMut(&Response) -> bool + Send + 'static,
) -> Result<Driven> {
    Ok(drive_over(connected(target, connections).await?, next, judge).await.0)
}

/// Like [`drive`], over these connections; returns them.
pub(crate) async fn drive_over(
    clients: Vec<Client>,
    next: impl FnMut() -> Option<ScenarioRequest> + Send + 'static,
    judge: impl FnMut(&Response) -> bool + Send + 'static,
) -> (Driven, Vec<Client>) {
    // Uncontended: all workers run on one thread.
    let (next, judge) = (Arc::new(Mutex::new(next)), Arc::new(Mutex::new(judge)));
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for mut client in clients {
        let (next, judge) = (Arc::clone(&next), Arc::clone(&judge));
        workers.spawn(async move {
            let (mut good, mut failed, mut latencies) = (0, 0, empty_histogram());
            loop {
                let request = next.lock().unwrap_or_else(PoisonError::into_inner)();
                let Some(request) = request else { return (client, good, failed, latencies) };
                let sent = Instant::now();
                let response = timeout(REQUEST_TIMEOUT, client.send(request)).await;
                latencies.saturating_record(
                    u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX),
                );
                match response {
                    Ok(Ok(response))
                        if judge.lock().unwrap_or_else(PoisonError::into_inner)(&response) =>
                    {
                        good += 1
                    }
                    _ => failed += 1,
                }
            }
        });
    }
    let mut driven =
        Driven { good: 0, failed: 0, elapsed: Duration::ZERO, latencies: empty_histogram() };
    let mut clients = Vec::new();
    for (client, good, failed, latencies) in workers.join_all().await {
        clients.push(client);
        driven.good += good;
        driven.failed += failed;
        // Cannot fail: all have the same bounds.
        let _infallible = driven.latencies.add(latencies);
    }
    driven.elapsed = begin.elapsed();
    (driven, clients)
}

/// Generates numbered requests for that long.
pub(crate) fn for_a_while(
    duration: Duration,
    mut request: impl FnMut(usize) -> ScenarioRequest + Send + 'static,
) -> impl FnMut() -> Option<ScenarioRequest> + Send + 'static {
    let (mut number, mut until) = (0, None);
    move || {
        let now = Instant::now();
        // Starts with the first request, after all connections are made.
        if now >= *until.get_or_insert(now + duration) {
            return None;
        }
        number += 1;
        Some(request(number - 1))
    }
}
