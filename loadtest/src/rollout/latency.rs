//! Latencies of an undisturbed system, and during operations.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use proto_contracts::PoolName;
use serde::Serialize;

use crate::recorder::empty_histogram;

/// What happens to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing yet.
    Quiet,
    /// Instances of a pool are restarted in turn.
    Rolling(PoolName),
    /// A hostile client sends requests.
    Abused,
    /// Anything else; its requests are not compared.
    Other,
}

const STAGES: [Stage; 5] = [
    Stage::Quiet,
    Stage::Rolling(PoolName::Stateless),
    Stage::Rolling(PoolName::Stateful),
    Stage::Abused,
    Stage::Other,
];

/// The latencies of each stage. A request belongs to the stage in which it was due.
pub(crate) struct Latencies {
    stage: AtomicUsize,
    // Locked for each request: some hundreds per second.
    of_stages: Mutex<[Histogram<u64>; STAGES.len()]>,
}

impl Latencies {
    pub(super) fn new() -> Self {
        let none = Stage::Other.index();
        Self {
            stage: AtomicUsize::new(none),
            of_stages: Mutex::new(STAGES.map(|_| empty_histogram())),
        }
    }

    pub(crate) fn begin(&self, stage: Stage) {
        self.stage.store(stage.index(), Ordering::Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        STAGES[self.stage.load(Ordering::Relaxed)]
    }

    /// Records a request of the stage. A failed one counts too: leaving it out would make a failing
    /// system look fast.
    pub(super) fn record(&self, stage: Stage, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.of_stages.lock().unwrap_or_else(PoisonError::into_inner)[stage.index()]
            .saturating_record(micros);
    }

    /// The 99th percentile of a stage, milliseconds; `None` when it had no request.
    pub(crate) fn p99(&self, stage: Stage) -> Option<f64> {
        let latencies =
            &self.of_stages.lock().unwrap_or_else(PoisonError::into_inner)[stage.index()];
        (!latencies.is_empty()).then(|| latencies.value_at_quantile(0.99) as f64 / 1000.0)
    }

    pub(super) fn p99s(&self) -> P99s {
        P99s {
            quiet_ms: self.p99(Stage::Quiet),
            rolling_stateless_ms: self.p99(Stage::Rolling(PoolName::Stateless)),
            rolling_stateful_ms: self.p99(Stage::Rolling(PoolName::Stateful)),
        }
    }
}

impl Stage {
    fn index(self) -> usize {
        STAGES.iter().position(|stage| *stage == self).unwrap_or(STAGES.len() - 1)
    }
}

/// 99th percentiles of latencies, which count from the due time, milliseconds; `None` without
/// requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct P99s {
    /// Of the undisturbed system.
    pub quiet_ms: Option<f64>,
    /// While stateless instances were restarted.
    pub rolling_stateless_ms: Option<f64>,
    /// While stateful instances were restarted.
    pub rolling_stateful_ms: Option<f64>,
}

impl P99s {
    /// The higher one of the two restarts, divided by the undisturbed one.
    pub fn ratio(&self) -> Option<f64> {
        let rolling = self
            .rolling_stateless_ms
            .into_iter()
            .chain(self.rolling_stateful_ms)
            .reduce(f64::max)?;
        self.quiet_ms.filter(|quiet| *quiet > 0.0).map(|quiet| rolling / quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_for_the_stage_in_which_it_was_due() {
        let latencies = Latencies::new();
        latencies.record(latencies.stage(), Duration::from_secs(9));
        latencies.begin(Stage::Quiet);
        latencies.record(latencies.stage(), Duration::from_millis(2));
        let due = latencies.stage();
        latencies.begin(Stage::Rolling(PoolName::Stateful));
        latencies.record(due, Duration::from_millis(2));
        latencies.record(latencies.stage(), Duration::from_millis(3));
        let p99s = latencies.p99s();
        assert_eq!(p99s.rolling_stateless_ms, None);
        assert!(p99s.ratio().is_some_and(|ratio| (1.49..1.51).contains(&ratio)), "{p99s:?}");
    }
}
