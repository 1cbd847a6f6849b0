//! Overload: a pool whose answers come late gets no more requests than it answers in good time; the rest are told at once.
//!
//! Without a limit every request of a flood waits in the instances' queues until its client has given up, and the pool works
//! for nobody. The limit is halved when most answers take longer than the target and grows by a tenth when they do not, or doubles
//! when less than half of it is used.
//! It may be far above what the instances work on at once, since the target is far above what a request takes: it bounds their
//! queues and never leaves them idle. Only requests that were sent since its last change
//! speak for the next one, so it does not fall for what it has cured already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a limit stands at least.
const WINDOW: Duration = Duration::from_millis(100);
/// How many answers speak for a change at least.
const MIN_SAMPLES: u64 = 20;
/// There is no limit but that of each instance.
const OPEN: u64 = u64::MAX;

/// When a pool has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long most answers may take.
    pub latency_target: Duration,
    /// Below so many requests in flight for each usable instance, none is shed.
    pub min_in_flight: u64,
}

/// Where the limit of a pool may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub floor: u64,
    /// Above it there is none.
    pub ceiling: u64,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on requests are shed.
    Began(u64),
    /// From now on none is.
    Ended,
}

/// The limit of one pool, as it is now.
#[derive(Debug)]
pub struct AdaptiveLimit {
    began: Instant,
    limit: AtomicU64,
    /// When the limit was looked at last, in microseconds since the beginning.
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
    /// How many requests the pool may have in flight; `None` while it may have any number.
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != OPEN).then_some(limit)
    }

    /// Takes note of an answer to a request that was sent then; `range` and `in_flight` are asked for when the limit is due.
    pub fn answered(
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
        // Whoever moves the time on decides; what others count meanwhile is lost or counts for the next, and is little.
        self.changed.compare_exchange(changed, now, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        let (late, in_time) = (self.late.swap(0, Ordering::Relaxed), self.in_time.swap(0, Ordering::Relaxed));
        let limit = self.limit.load(Ordering::Relaxed);
        let next = if late > in_time {
            let Range { floor, ceiling } = range();
            (limit.min(in_flight()).min(ceiling) / 2).max(floor)
        } else if limit == OPEN {
            OPEN
        } else {
            // With few in flight it binds nobody, so there is nothing to feel one's way to.
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

    /// Answers that take so long, one every 5 ms, for so long; returns when the last came.
    fn run(limit: &AdaptiveLimit, from: Instant, latency_ms: u64, seconds: u64) -> Instant {
        let mut sent = from;
        while sent < from + Duration::from_secs(seconds) {
            limit.answered(sent, sent + Duration::from_millis(latency_ms), POLICY, || RANGE, || 1_000);
            sent += Duration::from_millis(5);
        }
        sent
    }

    #[test]
    fn late_answers_bring_the_limit_down_to_its_floor_and_good_ones_end_it() {
        let limit = AdaptiveLimit::default();
        let end = run(&limit, Instant::now(), 400, 2);
        assert_eq!(limit.limit(), None, "within the target nothing is limited");
        let end = run(&limit, end, 600, 1);
        assert!(limit.limit().is_some_and(|limit| limit <= 500), "{limit:?}");
        let end = run(&limit, end, 600, 20);
        assert_eq!(limit.limit(), Some(64));
        run(&limit, end, 50, 10);
        assert_eq!(limit.limit(), None, "ten seconds later all is forgotten");
    }

    #[test]
    fn a_limit_that_binds_nobody_is_soon_gone() {
        let limit = AdaptiveLimit::default();
        let end = run(&limit, Instant::now(), 600, 20);
        assert_eq!(limit.limit(), Some(64));
        let answers = (0..).map(|nth| end + Duration::from_millis(50 * nth));
        let needed = answers.map(|sent| limit.answered(sent, sent + Duration::from_millis(5), POLICY, || RANGE, || 1));
        let needed = needed.take_while(|change| *change != Some(Change::Ended)).count();
        assert!(needed <= 100, "one client alone took {needed} answers");
    }

    #[test]
    fn a_few_slow_ones_among_many_are_no_overload() {
        let limit = AdaptiveLimit::default();
        let mut sent = Instant::now();
        for i in 0..1_000 {
            let latency = Duration::from_millis(if i % 3 == 0 { 10_000 } else { 5 });
            limit.answered(sent, sent + latency, POLICY, || RANGE, || 1_000);
            sent += Duration::from_millis(5);
        }
        assert_eq!(limit.limit(), None);
    }

    #[test]
    fn what_was_sent_before_a_change_does_not_bring_the_next() {
        let limit = AdaptiveLimit::default();
        let sent = Instant::now();
        let late = sent + Duration::from_secs(2);
        let began = (0..1_000).find_map(|_| limit.answered(sent, late, POLICY, || RANGE, || 1_000));
        assert_eq!(began, Some(Change::Began(500)));
        (0..1_000).for_each(|_| {
            limit.answered(sent, late, POLICY, || RANGE, || 1_000);
        });
        assert_eq!(limit.limit(), Some(500));
    }
}
