//! A database that goes away: who asks whether it is back, who waits for that, and what the log is told.
//!
//! It is gone for a moment when it is started anew, or until another server has taken over. Requests that come meanwhile wait,
//! and nobody notices. So that one that stays away is told at once, they wait for the first seconds of an outage alone; and so
//! that a crowd that waits does no harm, one of them asks for all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// For how long an outage is waited for, from its beginning: longer than a start takes, or a failover.
const BRIDGED: Duration = Duration::from_secs(8);
/// Pause between two looks at whether it is back.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// One that comes and goes is told of this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Whether a database answered of late.
#[derive(Debug)]
pub struct Outage {
    /// What the log calls it.
    what: &'static str,
    away: AtomicBool,
    // Locked while it is away alone, so never on the common path.
    times: Mutex<Times>,
    // Held by who asks whether it is back.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the outage began; it may be over.
    began: Option<Instant>,
    /// When the log was last told that it is away.
    told: Option<Instant>,
}

/// For how long one act may wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    until: Instant,
}

impl Patience {
    /// As long as an outage is waited for, from now.
    pub fn begin() -> Self {
        Self { until: Instant::now() + BRIDGED }
    }

    /// Of somebody who has something else to say.
    pub fn none() -> Self {
        Self { until: Instant::now() }
    }
}

impl Outage {
    /// Of a database that the log calls so.
    pub fn of(what: &'static str) -> Self {
        Self { what, away: AtomicBool::default(), times: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Waits until it is back, unless it is not away, or has been for too long, or patience ends before.
    pub async fn pass<F: Future<Output = bool>>(&self, patience: Patience, is_back: impl Fn() -> F) {
        if !self.is_away() {
            return;
        }
        let wait = async {
            let _turn = self.asking.lock().await;
            while self.is_away() && !is_back().await {
                sleep(LOOK_AGAIN).await;
            }
            self.answered();
        };
        // It may have been gone for good by then, which the next attempt tells.
        let _elapsed = timeout_at(self.waited_for_until(patience), wait).await;
    }

    /// Whether it is worth to try again, after a pause: the outage has only begun, or is over by now.
    pub async fn is_worth_another_attempt(&self, patience: Patience) -> bool {
        let is_worth = self.waited_for_until(patience) > Instant::now();
        if is_worth {
            sleep(LOOK_AGAIN).await;
        }
        is_worth
    }

    fn waited_for_until(&self, patience: Patience) -> Instant {
        let began = self.times().began.filter(|_| self.is_away());
        began.map_or(patience.until, |began| patience.until.min(began + BRIDGED))
    }

    /// It has answered.
    pub fn answered(&self) {
        if self.is_away() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the {} answers again", self.what);
        }
    }

    /// It has not. The cause is asked for when the log is told of it.
    pub fn began(&self, cause: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut times = self.times();
        if self.is_away() {
            return;
        }
        times.began = Some(now);
        self.away.store(true, Ordering::Relaxed);
        if times.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            times.told = Some(now);
            drop(times);
            let (what, bridged) = (self.what, BRIDGED.as_secs());
            tracing::warn!(
                cause = cause(),
                "the {what} does not answer; requests that need it wait up to {bridged} s, then they get 503 until it does"
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
    async fn the_log_is_told_once_in_a_while() {
        let outage = outage();
        let told = || outage.times().told;
        outage.began(no_cause);
        let first = told();
        assert!(first.is_some());
        for _ in 0..3 {
            outage.answered();
            outage.began(no_cause);
            assert_eq!(told(), first);
        }
        sleep(TELL_EVERY).await;
        outage.began(no_cause);
        assert_eq!(told(), first, "it is the same outage");
        outage.answered();
        outage.began(no_cause);
        assert!(told() > first);
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_who_wait() {
        let outage = outage();
        outage.began(no_cause);
        let start = Instant::now();
        let asked = AtomicUsize::new(0);
        let is_back = async || {
            asked.fetch_add(1, Ordering::Relaxed);
            start.elapsed() >= Duration::from_secs(2)
        };
        let patience = Patience::begin();
        let crowd = (0..100).map(|_| outage.pass(patience, is_back));
        futures_util::future::join_all(crowd).await;
        assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&start.elapsed()));
        assert!((30..=50).contains(&asked.into_inner()));
        assert!(!outage.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_for_in_its_first_seconds_alone() {
        let outage = outage();
        outage.began(no_cause);
        let waited = async |patience| {
            let start = Instant::now();
            outage.pass(patience, async || false).await;
            start.elapsed()
        };
        assert_eq!(waited(Patience::none()).await, Duration::ZERO);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(waited(Patience::begin()).await, BRIDGED - Duration::from_secs(2));
        assert_eq!(waited(Patience::begin()).await, Duration::ZERO);
        assert!(!outage.is_worth_another_attempt(Patience::begin()).await);
        // One that is over by the word of somebody else keeps nobody from trying again.
        outage.answered();
        assert!(outage.is_worth_another_attempt(Patience::begin()).await);
        assert!(!outage.is_worth_another_attempt(Patience::none()).await);
        // Another one is waited for again.
        outage.answered();
        outage.began(no_cause);
        assert!(outage.is_worth_another_attempt(Patience::begin()).await);
    }
}
