//! What happened, counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto_contracts::ErrorCode;

use crate::client::CallError;
use crate::scenario::Operation;

/// Why a request counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ErrorKind {
    /// There was no connection to send it on.
    Connect,
    /// The connection broke before the answer was whole.
    Broken,
    /// It took longer than a request may.
    Timeout,
    /// An open loop ended and its grace was over before the request had an answer, or even a free connection.
    Unfinished,
    /// The answer is not what the client knows to be true, or not readable.
    WrongAnswer,
    /// A problem document came.
    Problem(ErrorCode),
    /// Another status came, without a problem document.
    Status(u16),
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Broken => f.write_str("broken"),
            Self::Timeout => f.write_str("timeout"),
            Self::Unfinished => f.write_str("unfinished"),
            Self::WrongAnswer => f.write_str("wrong_answer"),
            Self::Problem(code) => write!(f, "{code}"),
            Self::Status(status) => write!(f, "status_{status}"),
        }
    }
}

impl From<&CallError> for ErrorKind {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Connect(_) => Self::Connect,
            CallError::Broken(_) => Self::Broken,
        }
    }
}

/// What one operation's requests took, and which of them failed.
pub(crate) struct Series {
    /// Microseconds of every request, failed ones too: leaving them out would make a failing system look fast.
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

    /// Adds what the other recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing is refused.
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

/// Three significant digits up to ten minutes, longer than any run waits.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library accepts")]
    Histogram::new_with_max(600_000_000, 3).expect("valid bounds")
}

/// What a phase recorded so far.
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

    /// One request that ended now: when it was due or sent, and how it went.
    pub(crate) fn record(&mut self, operation: Operation, since: Instant, outcome: Result<(), ErrorKind>) {
        let now = Instant::now();
        self.last_end = now;
        self.series.entry(operation).or_insert_with(Series::new).record(now - since, outcome);
    }
}
