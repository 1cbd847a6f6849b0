//! Metrics of the driver.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use proto_contracts::PoolName;

/// How a lesson ends.
const OUTCOMES: [&str; 3] = ["measured", "stopped", "failed"];

/// Requests by pool and outcome, and lessons by outcome.
pub(super) struct DriverMetrics {
    /// By pool, in the order of [`PoolName::ALL`]: successful, then failed.
    requests: [[IntCounter; 2]; 2],
    /// By outcome.
    lessons: IntCounterVec,
}

impl DriverMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("driver_requests_total", "Requests of the simulated clients, by outcome"),
            &["pool", "outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        // So that rates begin at 0.
        let requests = PoolName::ALL.map(|pool| {
            ["succeeded", "failed"]
                .map(|outcome| requests.with_label_values(&[pool.as_str(), outcome]))
        });
        let lessons = IntCounterVec::new(
            Opts::new("driver_lessons_total", "Lessons started from the board, by outcome"),
            &["outcome"],
        )?;
        registry.register(Box::new(lessons.clone()))?;
        for outcome in OUTCOMES {
            lessons.with_label_values(&[outcome]);
        }
        Ok(Self { requests, lessons })
    }

    pub(super) fn count(&self, pool: PoolName, succeeded: bool) {
        let place = PoolName::ALL.iter().position(|known| *known == pool).unwrap_or_default();
        self.requests[place][usize::from(!succeeded)].inc();
    }
    /// Counts a lesson that ended in one of [`OUTCOMES`].
    pub(super) fn count_lesson(&self, outcome: &str) {
        self.lessons.with_label_values(&[outcome]).inc();
    }
}
