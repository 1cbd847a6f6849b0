//! Which requests are told, when there are more than anybody can read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For how long unused turns are kept, so that the few requests that a person makes at a time are all told.
const BURST: Duration = Duration::from_millis(500);

/// Takes at most so many requests a second, evenly spaced under load, and counts those in between.
///
/// This is the generic cell rate algorithm (ITU-T I.371) on one atomic number.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Nanoseconds between two turns; 0 when none is taken.
    interval: u64,
    /// When the next turn is, in nanoseconds since the beginning, moved by the burst.
    due: AtomicU64,
    /// Requests since the last one that was taken.
    untold: AtomicU64,
}

impl Sampler {
    /// Takes so many a second; none with 0.
    pub(super) fn new(per_s: u32) -> Self {
        let interval = 1_000_000_000_u64.checked_div(per_s.into()).unwrap_or(0);
        Self { interval, due: AtomicU64::new(0), untold: AtomicU64::new(0) }
    }

    /// Whether a request at this time since the beginning is taken, and then how many it stands for. Their sum is the number
    /// of requests so far.
    pub(super) fn take(&self, since_begin: Duration) -> Option<u64> {
        if self.interval == 0 {
            return None;
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        let kept = nanoseconds(since_begin);
        let now = kept + nanoseconds(BURST);
        let next = |due: u64| (due.max(kept) <= now).then(|| due.max(kept) + self.interval);
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        // Another thread that was taken at the same moment may have told of this request already.
        Some(self.untold.swap(0, Ordering::Relaxed)).filter(|&count| count > 0)
    }

    /// Forgets what was not told.
    pub(super) fn forget(&self) {
        self.untold.store(0, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of so many requests, evenly spread over this time after a minute.
    fn told(sampler: &Sampler, requests: u64, over: Duration) -> Vec<u64> {
        let at = |i| Duration::from_mins(1) + over.mul_f64(i as f64 / requests as f64);
        (0..requests).filter_map(|i| sampler.take(at(i))).collect()
    }

    #[test]
    fn few_are_all_told() {
        let sampler = Sampler::new(50);
        assert_eq!(told(&sampler, 20, Duration::from_millis(1)), [1; 20], "a burst by hand");
        assert_eq!(told(&Sampler::new(50), 400, Duration::from_secs(10)).len(), 400);
    }

    #[test]
    fn of_many_a_sample_is_told_that_adds_up() {
        let sampler = Sampler::new(50);
        let told = told(&sampler, 1_000_000, Duration::from_secs(10));
        // 50 a second, and the burst of the half second before.
        assert!((500..=530).contains(&told.len()), "{}", told.len());
        let untold = sampler.untold.load(Ordering::Relaxed);
        assert_eq!(told.iter().sum::<u64>() + untold, 1_000_000);
        let (least, most) = (told[30..].iter().min(), told[30..].iter().max());
        assert!(least >= Some(&1_900) && most <= Some(&2_100), "evenly spaced: {least:?} to {most:?}");
    }

    #[test]
    fn none_is_told_when_it_is_turned_off() {
        assert!(told(&Sampler::new(0), 100, Duration::from_secs(10)).is_empty());
    }

    #[test]
    fn threads_together_tell_each_request_once() {
        let sampler = Sampler::new(1_000);
        let begin = std::time::Instant::now();
        let told: u64 = std::thread::scope(|scope| {
            let count = || (0..50_000).filter_map(|_| sampler.take(begin.elapsed())).sum::<u64>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(told + sampler.untold.load(Ordering::Relaxed), 200_000);
    }
}
