//! The retry budget: retries must not multiply the load of an overloaded pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::resilience::window::{self, Window};

/// Pingora's limit of attempts; the configured one is at most this.
pub const MAX_ATTEMPTS: u32 = 10;
/// Maximum first back-off; it doubles with each retry (Envoy's default).
const FIRST_BACK_OFF: Duration = Duration::from_millis(25);
/// Maximum back-off.
const MAX_BACK_OFF: Duration = Duration::from_millis(250);

/// When a failed request may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Retries as a share of the requests of the last ten seconds, in per cent.
    pub budget_percent: u32,
    /// Retries per second that are always allowed, averaged over ten seconds.
    pub min_per_second: u32,
    /// Maximum attempts per request, the first included.
    pub max_attempts: u32,
    /// How long a complete, idempotent request waits before it moves to another instance.
    pub attempt_timeout: Option<Duration>,
}

/// Counts a pool's requests and retries.
#[derive(Debug)]
pub struct RetryBudget {
    began: Instant,
    requests: Window,
    retries: Window,
    /// Retries that are kept for requests in flight.
    reserved: Arc<AtomicU64>,
}

/// A retry that is kept for a request until this is dropped.
#[derive(Debug)]
pub struct ReservedRetry(Arc<AtomicU64>);

impl Drop for ReservedRetry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            requests: Window::default(),
            retries: Window::default(),
            reserved: Arc::default(),
        }
    }
}

impl RetryBudget {
    /// Counts a request's first attempt.
    pub fn count_request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Takes a retry from the budget; `false` when it is used up. Reserved retries do not count:
    /// most are never used.
    pub fn take(&self, now: Instant, policy: Policy) -> bool {
        let second = self.second(now);
        let taken = self.allows(0, second, policy);
        if taken {
            self.retries.add(second);
        }
        taken
    }

    /// Keeps a retry for a request that is given less time than others because it can be retried.
    ///
    /// Without that, requests that time out together would find the budget used up and fail, sooner
    /// than if they had waited.
    pub fn reserve(&self, now: Instant, policy: Policy) -> Option<ReservedRetry> {
        let before = self.reserved.fetch_add(1, Ordering::Relaxed);
        let reserved = ReservedRetry(Arc::clone(&self.reserved));
        self.allows(before, self.second(now), policy).then_some(reserved)
    }

    /// Uses a reserved retry, even if others have used up the budget since.
    pub fn take_reserved(&self, now: Instant, reserved: ReservedRetry) {
        drop(reserved);
        self.retries.add(self.second(now));
    }

    /// Whether the budget has a retry besides those of the last seconds and this many others.
    fn allows(&self, others: u64, second: u32, policy: Policy) -> bool {
        let used = self.retries.count(second) + others;
        // Most of the time few are used, and the requests need not be counted.
        used < u64::from(policy.min_per_second) * u64::from(window::SECONDS)
            || used < self.requests.count(second) * u64::from(policy.budget_percent) / 100
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u32::MAX - 1)
    }
}

/// The back-off after failures at `failed` instances: none before the first retry, then random, so
/// that requests that failed together are not retried together.
pub fn back_off(failed: usize, random: impl FnOnce() -> f64) -> Option<Duration> {
    let doublings = u32::try_from(failed.checked_sub(2)?).unwrap_or(u32::MAX);
    let longest = FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_BACK_OFF);
    Some(longest.mul_f64(random().clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { budget_percent: 20, min_per_second: 3, max_attempts: 4, attempt_timeout: None };

    #[test]
    fn a_fifth_of_the_requests_may_be_retries() {
        let (budget, now) = (RetryBudget::default(), Instant::now());
        (0..1_000).for_each(|_| budget.count_request(now));
        assert_eq!((0..1_000).filter(|_| budget.take(now, POLICY)).count(), 200);
        let later = now + Duration::from_secs(3);
        assert!(!budget.take(later, POLICY), "it is a budget of ten seconds");
        let much_later = now + Duration::from_secs(11);
        assert!(budget.take(much_later, POLICY));
    }

    #[test]
    fn a_few_are_always_allowed() {
        let (budget, now) = (RetryBudget::default(), Instant::now());
        assert_eq!((0..1_000).filter(|_| budget.take(now, POLICY)).count(), 30);
        let none = Policy { budget_percent: 0, min_per_second: 0, ..POLICY };
        assert!(!RetryBudget::default().take(now, none));
    }

    #[test]
    fn a_reserved_retry_is_certain_and_comes_back_unused() {
        let (budget, now) = (RetryBudget::default(), Instant::now());
        let mut reserved: Vec<_> = (0..40).filter_map(|_| budget.reserve(now, POLICY)).collect();
        assert_eq!(reserved.len(), 30, "no more than the budget has");
        assert!((0..30).all(|_| budget.take(now, POLICY)), "what is reserved is not used yet");
        assert!(!budget.take(now, POLICY) && budget.reserve(now, POLICY).is_none());
        budget.take_reserved(now, reserved.swap_remove(0));
        drop(reserved);
        let later = now + Duration::from_secs(11);
        assert_eq!(
            (0..40).filter_map(|_| budget.reserve(later, POLICY)).count(),
            40,
            "each was released at once"
        );
    }

    #[test]
    fn the_wait_grows_and_is_random() {
        let longest = |failed| back_off(failed, || 1.0).map(|wait| wait.as_millis());
        assert_eq!(
            [0, 1, 2, 3, 4, 9].map(longest),
            [None, None, Some(25), Some(50), Some(100), Some(250)]
        );
        assert_eq!(back_off(4, || 0.0), Some(Duration::ZERO));
    }
}
