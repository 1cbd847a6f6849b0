//! Counts and latencies of a phase.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use http::HeaderValue;
use proto_contracts::Verdict;
use proto_contracts::headers::SERVED_BY;
use serde::Serialize;

use crate::client::Response;
use crate::outcome::ErrorKind;
use crate::scenario::Operation;

/// How a request ended.
pub(crate) struct Performed {
    pub(crate) operation: Operation,
    pub(crate) outcome: Result<(), ErrorKind>,
    /// `None` without a response.
    pub(crate) served: Option<Served>,
}

/// What a response says of the instance that served it.
pub(crate) struct Served {
    instance: Option<HeaderValue>,
    verdict: Option<Verdict>,
    is_from_memory: bool,
}

impl From<&Response> for Served {
    fn from(response: &Response) -> Self {
        Self {
            instance: response.headers.get(SERVED_BY).cloned(),
            verdict: response.verdict(),
            is_from_memory: response.is_from_memory(),
        }
    }
}

/// What was served, and by whom.
#[derive(Default)]
pub(crate) struct Serving {
    /// Responses by instance.
    pub(crate) instances: BTreeMap<String, u64>,
    /// Responses by verdict.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
    /// Successful reads of sessions.
    pub(crate) reads: u64,
    /// Those from the memory of the instance.
    pub(crate) reads_from_memory: u64,
}

impl Serving {
    fn count(&mut self, performed: &Performed) {
        let Some(served) = &performed.served else { return };
        if let Some(instance) = served.instance.as_ref().and_then(|name| name.to_str().ok()) {
            match self.instances.get_mut(instance) {
                Some(count) => *count += 1,
                None => drop(self.instances.insert(instance.to_owned(), 1)),
            }
        }
        if let Some(verdict) = served.verdict {
            *self.verdicts.entry(verdict.as_str()).or_default() += 1;
        }
        if performed.operation == Operation::Read && performed.outcome.is_ok() {
            self.reads += 1;
            self.reads_from_memory += u64::from(served.is_from_memory);
        }
    }
}

/// The requests that ended in one second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Second {
    /// Successful ones.
    pub succeeded: u64,
    /// Failed ones.
    pub failed: u64,
}

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

    /// The latency that this share of the requests did not exceed, in milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
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
    /// By instance and verdict.
    pub(crate) serving: Serving,
    /// By second since the start.
    pub(crate) seconds: Vec<Second>,
    start: Instant,
    /// When the last request ended.
    pub(crate) last_end: Instant,
}

impl Recorder {
    /// Nothing yet.
    pub(crate) fn starting_at(start: Instant) -> Self {
        Self {
            series: BTreeMap::new(),
            serving: Serving::default(),
            seconds: Vec::new(),
            start,
            last_end: start,
        }
    }

    /// Records a request that ended now and was due, or sent, at `since`.
    pub(crate) fn record(&mut self, since: Instant, performed: &Performed) {
        let now = Instant::now();
        self.last_end = now;
        let series = self.series.entry(performed.operation).or_insert_with(Series::new);
        series.record(now - since, performed.outcome);
        self.serving.count(performed);
        let second = usize::try_from((now - self.start).as_secs()).unwrap_or_default();
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        let second = &mut self.seconds[second];
        match performed.outcome {
            Ok(()) => second.succeeded += 1,
            Err(_) => second.failed += 1,
        }
    }
}
