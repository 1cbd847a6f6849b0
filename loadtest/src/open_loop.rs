//! Requests are due at times fixed beforehand, and their latency counts from there.
//!
//! If the system stalls, the requests that become due meanwhile wait for a free connection, and their waiting is measured.
//! A closed loop would not have sent them, and so would show one slow request in place of many ("coordinated omission").

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::client::Client;
use crate::phase::{self, perform};
use crate::recorder::{ErrorKind, Recorder};
use crate::scenario::Scenario;

/// When each request of a phase is due.
pub(crate) struct Schedule {
    start: Instant,
    rate: NonZeroU32,
    count: u64,
    /// When the requests that are still outstanding are given up.
    grace_over: Instant,
    /// One permit for each request that is due and not yet taken by a worker.
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    /// `rate` requests a second for `duration`; the ones outstanding then are waited for during `grace`.
    pub(crate) fn new(start: Instant, rate: NonZeroU32, duration: Duration, grace: Duration) -> Self {
        let count = u64::try_from(duration.as_nanos() * u128::from(rate.get()) / 1_000_000_000).unwrap_or(u64::MAX);
        Self {
            start,
            rate,
            count,
            grace_over: start + duration + grace,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
        }
    }

    fn due_time(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate.get());
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Hands out the requests as they become due, then sends that many workers home. Blocks its thread: the clock
    /// of the runtime ticks in milliseconds, which would be most of the latency that is measured.
    pub(crate) fn keep_time(&self, workers: usize) {
        let mut handed_out = 0;
        while handed_out < self.count {
            let wait = self.due_time(handed_out).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            self.due.add_permits(1);
            handed_out += 1;
        }
        self.due.add_permits(workers);
    }

    /// The number of the next request that is due; `None` when all are taken.
    async fn next(&self) -> Option<u64> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then_some(number)
    }
}

/// One worker: takes whichever request is due next, until all are taken.
pub(crate) async fn work<S: Scenario>(
    mut client: Client,
    mut scenario: S,
    schedule: &Schedule,
    timeout: Duration,
    recorder: &Mutex<Recorder>,
) {
    while let Some(number) = schedule.next().await {
        let now = Instant::now();
        let (deadline, then) = if now + timeout < schedule.grace_over {
            (now + timeout, ErrorKind::Timeout)
        } else {
            (schedule.grace_over, ErrorKind::Unfinished)
        };
        let (operation, outcome) = perform(&mut client, &mut scenario, deadline, then).await;
        phase::lock(recorder).record(operation, schedule.due_time(number), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_even_and_do_not_drift() {
        let start = Instant::now();
        let rate = NonZeroU32::new(3).expect("not zero");
        let schedule = Schedule::new(start, rate, Duration::from_secs(7), Duration::ZERO);
        assert_eq!(schedule.count, 21);
        assert_eq!(schedule.due_time(0), start);
        assert_eq!(schedule.due_time(1), start + Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due_time(18), start + Duration::from_secs(6));
    }
}
