//! Counts and latencies of a phase.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::outcome::ErrorKind;
use crate::scenario::Operation;

/// Latencies and errors of one operation.
pub(crate) struct Series {
    /// Microseconds of every request, including failed ones: without them a failing system would
    /// look fast.
    pub(crate) latencies: Histogram<u64>,
    /// The failed ones.
    pub(crate) errors: HashMap<ErrorKind, u64>,
}

impl Series {
    pub(crate) fn new() -> Self {
        Self { latencies: empty_histogram(), errors: HashMap::new() }
    }

    fn record(&mut self, latency: Duration, outcome: Result<(), ErrorKind>) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros);
        if let Err(kind) = outcome {
            *self.errors.entry(kind).or_default() += 1;
        }
    }

    /// Adds another series.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Cannot fail: both have the same bounds.
        let _infallible = self.latencies.add(&other.latencies);
        for (&kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }

    /// Requests, failed ones included.
    pub(crate) fn requests(&self) -> u64 {
        self.latencies.len()
    }

    /// Failed requests.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Three significant digits, up to ten minutes.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library accepts")]
    Histogram::new_with_max(600_000_000, 3).expect("valid bounds")
}

/// The record of a phase.
pub(crate) struct Recorder {
    /// By operation.
    pub(crate) series: BTreeMap<Operation, Series>,
    /// When the last request ended.
    pub(crate) last_end: Instant,
}

impl Recorder {
    /// Nothing yet.
    pub(crate) fn starting_at(start: Instant) -> Self {
        Self { series: BTreeMap::new(), last_end: start }
    }

    /// Records a request that ended now and was due, or sent, at `since`.
    pub(crate) fn record(
        &mut self,
        operation: Operation,
        since: Instant,
        outcome: Result<(), ErrorKind>,
    ) {
        let now = Instant::now();
        self.last_end = now;
        self.series.entry(operation).or_insert_with(Series::new).record(now - since, outcome);
    }
}
