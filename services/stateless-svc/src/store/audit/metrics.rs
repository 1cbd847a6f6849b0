//! Metrics of the audit log.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::domain::audit::Action;

/// Counts what is recorded. Cheap to clone.
#[derive(Clone)]
pub struct AuditMetrics {
    entries: IntCounterVec,
    maintained: IntGauge,
}

impl AuditMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self::unregistered()?;
        registry.register(Box::new(metrics.entries.clone()))?;
        registry.register(Box::new(metrics.maintained.clone()))?;
        Ok(metrics)
    }

    /// Metrics that nobody reads, for the command line.
    ///
    /// # Errors
    /// Never in practice: the names are valid.
    pub fn unregistered() -> prometheus::Result<Self> {
        let help = "Changes and refused requests that the audit log has, by action";
        let entries =
            IntCounterVec::new(Opts::new("accounts_audit_recorded_total", help), &["action"])?;
        // So that rates begin at 0.
        for action in Action::ALL {
            entries.with_label_values(&[action.as_str()]);
        }
        let maintained = IntGauge::new(
            "accounts_audit_partitions_last_success_timestamp_seconds",
            "When this instance last saw that the audit log has its partitions",
        )?;
        Ok(Self { entries, maintained })
    }

    /// Counts a committed change, or refused requests whose sum is committed.
    pub fn recorded(&self, action: Action, count: u64) {
        self.entries.with_label_values(&[action.as_str()]).inc_by(count);
    }

    /// Notes that the partitions are as they should be.
    pub(super) fn maintained(&self) {
        self.maintained.set(jiff::Timestamp::now().as_second());
    }
}
