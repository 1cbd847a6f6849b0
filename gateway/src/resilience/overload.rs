//! Load shedding: an adaptive limit of requests in flight per pool, driven by latency.
//!
//! Without a limit, requests of a flood queue at the instances until their clients give up. The
//! limit is halved when most responses are later than the target. Otherwise it grows by a tenth, or
//! doubles when less than half of it is used. The target is far above the usual latency, so the
//! limit bounds queues and never leaves instances idle. Only requests sent since the last change
//! count for the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Minimum time between changes.
const WINDOW: Duration = Duration::from_millis(100);
/// Minimum number of responses for a change.
const MIN_SAMPLES: u64 = 20;
/// No limit.
const OPEN: u64 = u64::MAX;

/// When a pool is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Latency that most responses should not exceed.
    pub latency_target: Duration,
    /// Below this many requests in flight per usable instance, nothing is shed.
    pub min_in_flight: u64,
}

/// Range of a pool's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest limit.
    pub floor: u64,
    /// Above it there is no limit.
    pub ceiling: u64,
}

/// A change by a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Shedding begins, with this limit.
    Began(u64),
    /// Shedding ends.
    Ended,
}

/// The current limit of one pool.
#[derive(Debug)]
pub struct AdaptiveLimit {
    began: Instant,
    limit: AtomicU64,
    /// Time of the last evaluation, in microseconds since `began`.
    changed: AtomicU64,
    late: AtomicU64,
    in_time: AtomicU64,
}

impl Default for AdaptiveLimit {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            limit: AtomicU64::new(OPEN),
            changed: AtomicU64::new(0),
            late: AtomicU64::new(0),
            in_time: AtomicU64::new(0),
        }
    }
}

impl AdaptiveLimit {
    /// The current limit; `None`: unlimited.
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != OPEN).then_some(limit)
    }

    /// Records a response to a request sent at `sent`. `range` and `in_flight` are called only when
    /// the limit is evaluated.
    pub fn record(
        &self,
        sent: Instant,
        now: Instant,
        policy: Policy,
        range: impl FnOnce() -> Range,
        in_flight: impl FnOnce() -> u64,
    ) -> Option<Change> {
        let changed = self.changed.load(Ordering::Relaxed);
        if self.micros(sent) < changed {
            return None;
        }
        let late = now.saturating_duration_since(sent) > policy.latency_target;
        if late { &self.late } else { &self.in_time }.fetch_add(1, Ordering::Relaxed);
        let now = self.micros(now);
        let samples = self.late.load(Ordering::Relaxed) + self.in_time.load(Ordering::Relaxed);
        if now < changed.saturating_add(WINDOW.as_micros() as u64) || samples < MIN_SAMPLES {
            return None;
        }
        // One thread evaluates; counts of others meanwhile may be lost, which is little.
        self.changed.compare_exchange(changed, now, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        let (late, in_time) =
            (self.late.swap(0, Ordering::Relaxed), self.in_time.swap(0, Ordering::Relaxed));
        let limit = self.limit.load(Ordering::Relaxed);
        let next = if late > in_time {
            let Range { floor, ceiling } = range();
            (limit.min(in_flight()).min(ceiling) / 2).max(floor)
        } else if limit == OPEN {
            OPEN
        } else {
            // With few in flight the limit has no effect, so it may grow fast.
            let step = if in_flight() < limit / 2 { limit } else { (limit / 10).max(1) };
            let grown = limit + step;
            if grown >= range().ceiling { OPEN } else { grown }
        };
        self.limit.store(next, Ordering::Relaxed);
        match (limit == OPEN, next == OPEN) {
            (true, false) => Some(Change::Began(next)),
            (false, true) => Some(Change::Ended),
            _ => None,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { latency_target: Duration::from_millis(500), min_in_flight: 64 };
    const RANGE: Range = Range { floor: 64, ceiling: 1_024 };

    /// Responses with this latency, one every 5 ms; returns the time of the last.
    fn run(limit: &AdaptiveLimit, from: Instant, latency_ms: u64, seconds: u64) -> Instant {
        let mut sent = from;
        while sent < from + Duration::from_secs(seconds) {
            limit.record(
                sent,
                sent + Duration::from_millis(latency_ms),
                POLICY,
                || RANGE,
                || 1_000,
            );
            sent += Duration::from_millis(5);
        }
        sent
    }

    #[test]
    fn late_responses_lower_the_limit_to_its_floor_and_timely_ones_end_it() {
        let limit = AdaptiveLimit::default();
        let end = run(&limit, Instant::now(), 400, 2);
        assert_eq!(limit.limit(), None, "within the target nothing is limited");
        let end = run(&limit, end, 600, 1);
        assert!(limit.limit().is_some_and(|limit| limit <= 500), "{limit:?}");
        let end = run(&limit, end, 600, 20);
        assert_eq!(limit.limit(), Some(64));
        run(&limit, end, 50, 10);
        assert_eq!(limit.limit(), None, "ten seconds later there is no limit");
    }

    #[test]
    fn a_limit_without_effect_ends_soon() {
        let limit = AdaptiveLimit::default();
        let end = run(&limit, Instant::now(), 600, 20);
        assert_eq!(limit.limit(), Some(64));
        let responses = (0..).map(|nth| end + Duration::from_millis(50 * nth));
        let needed = responses.map(|sent| {
            limit.record(sent, sent + Duration::from_millis(5), POLICY, || RANGE, || 1)
        });
        let needed = needed.take_while(|change| *change != Some(Change::Ended)).count();
        assert!(needed <= 100, "one client alone took {needed} responses");
    }

    #[test]
    fn a_few_slow_responses_are_no_overload() {
        let limit = AdaptiveLimit::default();
        let mut sent = Instant::now();
        for i in 0..1_000 {
            let latency = Duration::from_millis(if i % 3 == 0 { 10_000 } else { 5 });
            limit.record(sent, sent + latency, POLICY, || RANGE, || 1_000);
            sent += Duration::from_millis(5);
        }
        assert_eq!(limit.limit(), None);
    }

    #[test]
    fn requests_sent_before_a_change_do_not_count_for_the_next() {
        let limit = AdaptiveLimit::default();
        let sent = Instant::now();
        let late = sent + Duration::from_secs(2);
        let began = (0..1_000).find_map(|_| limit.record(sent, late, POLICY, || RANGE, || 1_000));
        assert_eq!(began, Some(Change::Began(500)));
        (0..1_000).for_each(|_| {
            limit.record(sent, late, POLICY, || RANGE, || 1_000);
        });
        assert_eq!(limit.limit(), Some(500));
    }
}
