//! Samples requests for the event stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long unused turns are kept, so that a few manual requests are all sampled.
const BURST: Duration = Duration::from_millis(500);

/// Takes at most a number of requests per second, evenly spaced, and counts those in between: GCRA
/// (ITU-T I.371) on one atomic.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Nanoseconds between samples; 0: none.
    interval: u64,
    /// Time of the next sample, in nanoseconds since the beginning, offset by the burst.
    due: AtomicU64,
    /// Requests since the last sample.
    skipped: AtomicU64,
}

impl Sampler {
    /// A sampler with this rate per second; 0: none.
    pub(super) fn new(per_s: u32) -> Self {
        let interval = 1_000_000_000_u64.checked_div(per_s.into()).unwrap_or(0);
        Self { interval, due: AtomicU64::new(0), skipped: AtomicU64::new(0) }
    }

    /// Whether a request at this time since the beginning is taken, and then how many it stands
    /// for. Their sum is the number of requests so far.
    pub(super) fn take(&self, since_begin: Duration) -> Option<u64> {
        if self.interval == 0 {
            return None;
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
        let kept = nanoseconds(since_begin);
        let now = kept + nanoseconds(BURST);
        let next = |due: u64| (due.max(kept) <= now).then(|| due.max(kept) + self.interval);
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        // Another thread that sampled concurrently may have counted this request.
        Some(self.skipped.swap(0, Ordering::Relaxed)).filter(|&count| count > 0)
    }

    /// Resets the count.
    pub(super) fn forget(&self) {
        self.skipped.store(0, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights of samples of evenly spaced requests.
    fn weights(sampler: &Sampler, requests: u64, over: Duration) -> Vec<u64> {
        let at = |i| Duration::from_mins(1) + over.mul_f64(i as f64 / requests as f64);
        (0..requests).filter_map(|i| sampler.take(at(i))).collect()
    }

    #[test]
    fn few_are_all_sampled() {
        let sampler = Sampler::new(50);
        assert_eq!(weights(&sampler, 20, Duration::from_millis(1)), [1; 20], "a burst by hand");
        assert_eq!(weights(&Sampler::new(50), 400, Duration::from_secs(10)).len(), 400);
    }

    #[test]
    fn the_weights_of_samples_add_up() {
        let sampler = Sampler::new(50);
        let sampled = weights(&sampler, 1_000_000, Duration::from_secs(10));
        // 50 a second, and the burst of the half second before.
        assert!((500..=530).contains(&sampled.len()), "{}", sampled.len());
        let skipped = sampler.skipped.load(Ordering::Relaxed);
        assert_eq!(sampled.iter().sum::<u64>() + skipped, 1_000_000);
        let (least, most) = (sampled[30..].iter().min(), sampled[30..].iter().max());
        assert!(
            least >= Some(&1_900) && most <= Some(&2_100),
            "evenly spaced: {least:?} to {most:?}"
        );
    }

    #[test]
    fn nothing_is_sampled_at_rate_zero() {
        assert!(weights(&Sampler::new(0), 100, Duration::from_secs(10)).is_empty());
    }

    #[test]
    fn concurrent_samples_count_each_request_once() {
        let sampler = Sampler::new(1_000);
        let begin = std::time::Instant::now();
        let sampled: u64 = std::thread::scope(|scope| {
            let count = || (0..50_000).filter_map(|_| sampler.take(begin.elapsed())).sum::<u64>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(sampled + sampler.skipped.load(Ordering::Relaxed), 200_000);
    }
}
