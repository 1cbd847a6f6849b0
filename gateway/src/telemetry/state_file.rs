//! Metrics of the state file, collected at each scrape.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge, Opts};

use crate::pool::state_file::StateFile;

/// Metrics of the state file, if there is one.
pub struct StateFileMetrics {
    state_file: Arc<StateFile>,
    writable: IntGauge,
    failures: IntCounter,
    last_success: Gauge,
}

impl StateFileMetrics {
    /// The metrics of this file.
    ///
    /// # Errors
    /// When Prometheus rejects a name.
    pub fn new(state_file: Arc<StateFile>) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("gateway_state_file_{name}"), help);
        Ok(Self {
            state_file,
            writable: IntGauge::with_opts(opts(
                "writable",
                "1 while the last write of the state file succeeded, else 0.",
            ))?,
            failures: IntCounter::with_opts(opts(
                "write_failures_total",
                "Writes of the state file that failed.",
            ))?,
            last_success: Gauge::with_opts(opts(
                "last_success_timestamp_seconds",
                "When the state file was last written.",
            ))?,
        })
    }
}

impl Collector for StateFileMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.writable.desc(), self.failures.desc(), self.last_success.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(health) = self.state_file.health() else { return Vec::new() };
        self.writable.set(i64::from(health.error.is_none()));
        self.failures.inc_by(health.failures.saturating_sub(self.failures.get()));
        self.last_success.set(health.last_success.as_second() as f64);
        [self.writable.collect(), self.failures.collect(), self.last_success.collect()].concat()
    }
}
