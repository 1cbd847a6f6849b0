//! Bridges short database outages: one request probes, the others wait up to 8 s.
//!
//! A restart or a failover takes seconds, and requests that arrive meanwhile wait instead of
//! failing. In a longer outage they fail at once: only its first seconds are waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long requests wait, from the start of an outage: longer than a restart or a failover takes.
const BRIDGED: Duration = Duration::from_secs(8);
/// Pause between two probes, and before a retry.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// A database that comes and goes is logged this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a database responds.
#[derive(Debug)]
pub struct Outage {
    /// Its name in the log.
    what: &'static str,
    away: AtomicBool,
    // Locked during an outage only, so never on the common path.
    times: Mutex<Times>,
    // Held by the request that probes.
    probe: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the last outage began; it may be over.
    began: Option<Instant>,
    /// When an outage was last logged.
    logged: Option<Instant>,
}

/// Until when one operation may wait for a database and try again.
#[derive(Clone, Copy, Debug)]
pub struct RetryDeadline {
    until: Instant,
}

impl RetryDeadline {
    /// 8 s from now.
    pub fn start() -> Self {
        Self { until: Instant::now() + BRIDGED }
    }

    /// Now: for an operation that has a fallback.
    pub fn none() -> Self {
        Self { until: Instant::now() }
    }
}

impl Outage {
    /// Of a database with this name in the log.
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            away: AtomicBool::default(),
            times: Mutex::default(),
            probe: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the end of an outage, until `deadline` or the outage's eighth second.
    pub async fn wait_until_recovered<F: Future<Output = bool>>(
        &self,
        deadline: RetryDeadline,
        is_back: impl Fn() -> F,
    ) {
        if !self.is_away() {
            return;
        }
        let wait = async {
            let _turn = self.probe.lock().await;
            while self.is_away() && !is_back().await {
                sleep(PROBE_INTERVAL).await;
            }
            self.responded();
        };
        // The next attempt shows whether it responds.
        let _elapsed = timeout_at(self.waited_for_until(deadline), wait).await;
    }

    /// Pauses and returns true while a retry may succeed: the outage is young, or over.
    pub async fn is_worth_another_attempt(&self, deadline: RetryDeadline) -> bool {
        let is_worth = self.waited_for_until(deadline) > Instant::now();
        if is_worth {
            sleep(PROBE_INTERVAL).await;
        }
        is_worth
    }

    fn waited_for_until(&self, deadline: RetryDeadline) -> Instant {
        let began = self.times().began.filter(|_| self.is_away());
        began.map_or(deadline.until, |began| deadline.until.min(began + BRIDGED))
    }

    /// Records a response.
    pub fn responded(&self) {
        if self.is_away() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the {} responds again", self.what);
        }
    }

    /// Records a failure. `cause` is called only when the outage is logged.
    pub fn failed(&self, cause: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut times = self.times();
        if self.is_away() {
            return;
        }
        times.began = Some(now);
        self.away.store(true, Ordering::Relaxed);
        if times.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_INTERVAL) {
            times.logged = Some(now);
            drop(times);
            let (what, bridged) = (self.what, BRIDGED.as_secs());
            tracing::warn!(
                cause = cause(),
                "the {what} does not respond; requests that need it wait up to {bridged} s, then \
                 they get 503 until it does"
            );
        }
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn outage() -> Outage {
        Outage::of("database")
    }

    fn no_cause() -> String {
        "refused".to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_logged_once_in_a_while() {
        let outage = outage();
        let logged = || outage.times().logged;
        outage.failed(no_cause);
        let first = logged();
        assert!(first.is_some());
        for _ in 0..3 {
            outage.responded();
            outage.failed(no_cause);
            assert_eq!(logged(), first);
        }
        sleep(LOG_INTERVAL).await;
        outage.failed(no_cause);
        assert_eq!(logged(), first, "it is the same outage");
        outage.responded();
        outage.failed(no_cause);
        assert!(logged() > first);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_probes_for_all() {
        let outage = outage();
        outage.failed(no_cause);
        let start = Instant::now();
        let probes = AtomicUsize::new(0);
        let is_back = async || {
            probes.fetch_add(1, Ordering::Relaxed);
            start.elapsed() >= Duration::from_secs(2)
        };
        let deadline = RetryDeadline::start();
        let waiting = (0..100).map(|_| outage.wait_until_recovered(deadline, is_back));
        futures_util::future::join_all(waiting).await;
        assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&start.elapsed()));
        assert!((30..=50).contains(&probes.into_inner()));
        assert!(!outage.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_only_in_the_first_seconds_of_an_outage() {
        let outage = outage();
        outage.failed(no_cause);
        let waited = async |deadline| {
            let start = Instant::now();
            outage.wait_until_recovered(deadline, async || false).await;
            start.elapsed()
        };
        assert_eq!(waited(RetryDeadline::none()).await, Duration::ZERO);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(waited(RetryDeadline::start()).await, BRIDGED - Duration::from_secs(2));
        assert_eq!(waited(RetryDeadline::start()).await, Duration::ZERO);
        assert!(!outage.is_worth_another_attempt(RetryDeadline::start()).await);
        // A response to another request allows a retry.
        outage.responded();
        assert!(outage.is_worth_another_attempt(RetryDeadline::start()).await);
        assert!(!outage.is_worth_another_attempt(RetryDeadline::none()).await);
        // The next outage is bridged again.
        outage.responded();
        outage.failed(no_cause);
        assert!(outage.is_worth_another_attempt(RetryDeadline::start()).await);
    }
}
