//! Many logins at once, beside calls at a constant rate.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use local_stack::Stack;
use proto_contracts::Endpoint;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::args::LoginsArgs;
use super::subject::{INSTANCE, PASSWORD, THREADS, USERNAME};
use crate::client::{Client, connected};
use crate::open_loop;
use crate::recorder::Series;
use crate::request;
use crate::scenario::{InfoCalls, Operation};
use crate::target::Target;

/// Connections of the calls.
const CONNECTIONS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of one hash of Argon2id.
const HASH_BYTES: u64 = 19 * 1024 * 1024;
/// Of one client's connection and request.
const CLIENT_BYTES: u64 = 128 * 1024;
/// What the first requests of a kind make an instance allocate.
const BASE_BYTES: u64 = 8 * 1024 * 1024;

/// The result.
#[derive(Debug, Serialize)]
pub struct Rush {
    /// Clients that logged in at once.
    pub clients: u16,
    /// Logins by their responses' status.
    pub logins: BTreeMap<u16, u64>,
    /// Logins per second that succeeded.
    pub logins_per_second: f64,
    /// The instance's resident memory before, bytes.
    pub memory_before: u64,
    /// Its peak.
    pub memory_peak: u64,
    /// The bound of the peak: a hash for each thread, and a connection for each client.
    pub memory_bound: u64,
    /// Failed calls.
    pub failed_calls: u64,
    /// 99th percentile of the calls before, milliseconds.
    pub p99_before_ms: f64,
    /// 99th percentile of the calls beside the logins, milliseconds.
    pub p99_beside_ms: f64,
    /// Maximum ratio of the two; `None` for no limit.
    pub max_p99_ratio: Option<f64>,
}

impl Rush {
    pub(super) fn p99_ratio(&self) -> f64 {
        self.p99_beside_ms / self.p99_before_ms
    }

    /// Whether everything stayed within its bound, and nothing was rejected but by 503.
    pub fn is_clean(&self) -> bool {
        let is_expected = |status: &u16| [200, 503].contains(status);
        self.logins.keys().all(is_expected)
            && self.logins.contains_key(&200)
            && self.failed_calls == 0
            && self.memory_peak <= self.memory_bound
            && self.max_p99_ratio.is_none_or(|most| self.p99_ratio() <= most)
    }
}

pub(super) async fn measure(
    args: &LoginsArgs,
    stack: &Stack,
    gateway: &Arc<Target>,
) -> Result<Rush> {
    let pid = stack.pid_of(INSTANCE)?;
    let before = calls(gateway, args.rate, args.duration).await?;
    // Its peak counts from here.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak")?;
    let memory_before = status_bytes(pid, "VmRSS:")?;

    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..args.clients.get() {
        clients.spawn(log_in_until(Arc::clone(gateway), begin + args.duration));
    }
    let beside = calls(gateway, args.rate, args.duration).await?;
    let mut logins = BTreeMap::new();
    for client in clients.join_all().await {
        for status in client? {
            *logins.entry(status.as_u16()).or_default() += 1;
        }
    }
    let accepted = logins.get(&200).copied().unwrap_or_default();
    let p99 = |calls: &Series| calls.latencies.value_at_quantile(0.99) as f64 / 1000.0;
    let clients = args.clients.get();
    Ok(Rush {
        clients,
        logins,
        logins_per_second: accepted as f64 / begin.elapsed().as_secs_f64(),
        memory_before,
        memory_peak: status_bytes(pid, "VmHWM:")?,
        memory_bound: memory_before
            + THREADS * HASH_BYTES
            + u64::from(clients) * CLIENT_BYTES
            + BASE_BYTES,
        failed_calls: before.failed() + beside.failed(),
        p99_before_ms: p99(&before),
        p99_beside_ms: p99(&beside),
        max_p99_ratio: (args.max_p99_ratio > 0.0).then_some(args.max_p99_ratio),
    })
}

async fn calls(gateway: &Arc<Target>, rate: NonZeroU32, duration: Duration) -> Result<Series> {
    let clients = connected(gateway, CONNECTIONS).await?;
    let calls = open_loop::run(clients, |_| InfoCalls::new(), rate, duration, TIMEOUT).await;
    calls
        .series
        .into_iter()
        .find_map(|(operation, series)| (operation == Operation::Info).then_some(series))
        .context("no call was sent")
}

/// Logs in again and again. After a rejection it waits as long as that demands and up to a second
/// more, at random: people do not return together.
async fn log_in_until(gateway: Arc<Target>, end: Instant) -> Result<Vec<StatusCode>> {
    let mut client = Client::new(gateway);
    let mut responses = Vec::new();
    while Instant::now() < end {
        let login = json!({"username": USERNAME, "password": PASSWORD});
        let response =
            client.send(request::post(Endpoint::Login.templates().canonical, &login)).await?;
        responses.push(response.status);
        if let Some(wait) = response.headers.get(http::header::RETRY_AFTER) {
            let seconds: u64 = wait.to_str()?.parse().context("no Retry-After in seconds")?;
            let wait = Duration::from_secs(seconds).mul_f64(rand::random_range(1.0..2.0));
            sleep(wait.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }
    ensure!(!responses.is_empty(), "a client sent nothing");
    Ok(responses)
}

/// A size in `/proc/<pid>/status`.
fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such size")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
