//! Open loop: requests are due at fixed times, and their latencies count from these.
//!
//! If the system stalls, the requests due meanwhile wait for a free connection, and that wait is
//! measured. A closed loop would not send them, and so would show one slow request in place of many
//! ("coordinated omission").

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::outcome::ErrorKind;
use crate::perform::{lock, perform};
use crate::recorder::Recorder;
use crate::scenario::Scenario;

/// When each request of a phase is due.
pub(crate) struct Schedule {
    start: Instant,
    rate: NonZeroU32,
    count: u64,
    /// When outstanding requests are abandoned.
    grace_over: Instant,
    /// One permit for each due request that no worker has taken yet.
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    /// `rate` requests per second for `duration`, then `grace` for the outstanding ones.
    pub(crate) fn new(
        start: Instant,
        rate: NonZeroU32,
        duration: Duration,
        grace: Duration,
    ) -> Self {
        let count = u64::try_from(duration.as_nanos() * u128::from(rate.get()) / 1_000_000_000)
            .unwrap_or(u64::MAX);
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

    /// Releases the requests as they become due, then lets the workers end. Blocks its thread: the
    /// runtime's timer has a resolution of 1 ms, which would dominate the measured latency.
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

    /// The number of the next due request; `None` when all are taken.
    async fn next(&self) -> Option<u64> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then_some(number)
    }
}

/// Sends requests at a constant rate over these connections, and returns the record.
pub(crate) async fn run<S: Scenario>(
    clients: Vec<Client>,
    scenario: impl Fn(usize) -> S,
    rate: NonZeroU32,
    duration: Duration,
    timeout: Duration,
) -> Recorder {
    let start = Instant::now();
    let connections = clients.len();
    let recorder = Arc::new(Mutex::new(Recorder::starting_at(start)));
    let schedule = Arc::new(Schedule::new(start, rate, duration, timeout));
    let mut tasks = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let (recorder, schedule) = (Arc::clone(&recorder), Arc::clone(&schedule));
        let scenario = scenario(number);
        tasks.spawn(async move { work(client, scenario, &schedule, timeout, &recorder).await });
    }
    tasks.spawn_blocking(move || schedule.keep_time(connections));
    tasks.join_all().await;
    std::mem::replace(&mut *lock(&recorder), Recorder::starting_at(start))
}

/// Runs one worker: takes the next due request until all are taken.
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
        let performed = perform(&mut client, &mut scenario, deadline, then).await;
        lock(recorder).record(schedule.due_time(number), &performed);
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
