//! How an instance's requests ended, and how long they took: what a canary is judged by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use service_kit::telemetry::metrics::DURATION_BUCKETS;

/// One bucket for each bound, and one above all of them.
pub const TIMES: usize = DURATION_BUCKETS.len() + 1;

/// Counters of one instance since it became a member at its address.
#[derive(Debug, Default)]
pub struct Responses {
    failed: AtomicU64,
    rejected: AtomicU64,
    times: [AtomicU64; TIMES],
    total_us: AtomicU64,
}

/// The times of responses until their header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How many took up to each of [`DURATION_BUCKETS`] and more than the bound before it; the last
    /// ones took longer than all bounds.
    pub counts: [u64; TIMES],
    /// Their sum, in microseconds.
    pub total_us: u64,
}

impl Responses {
    /// Counts a response; `took` is `None` where the client determines the time.
    pub fn count(&self, status: StatusCode, took: Option<Duration>) {
        if status.is_server_error() {
            self.count_failed();
        } else if status.is_client_error() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(took) = took {
            let seconds = took.as_secs_f64();
            let place = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
            self.times[place].fetch_add(1, Ordering::Relaxed);
            self.total_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Counts a request that it failed without a response.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that it failed: 5xx, timeouts, failed and broken connections.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Requests that it rejected: 4xx.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// The times of its responses.
    pub fn times(&self) -> Times {
        Times {
            counts: std::array::from_fn(|place| self.times[place].load(Ordering::Relaxed)),
            total_us: self.total_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_is_counted_by_its_class_and_its_time() {
        let responses = Responses::default();
        let ms = |ms| Some(Duration::from_millis(ms));
        for (status, took) in
            [(200, ms(1)), (304, ms(2)), (404, ms(2)), (503, ms(60_000)), (500, None), (201, None)]
        {
            responses.count(StatusCode::from_u16(status).expect("a status"), took);
        }
        responses.count_failed();
        assert_eq!((responses.failed(), responses.rejected()), (3, 1));
        let Times { counts, total_us } = responses.times();
        let counted: Vec<_> = counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(counted, [(1, &1), (2, &2), (TIMES - 1, &1)], "1 ms is within its bound");
        assert_eq!(total_us, 60_005_000);
    }
}
