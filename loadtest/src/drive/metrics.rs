//! Metrics of the driver.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use proto_contracts::PoolName;

/// Requests by pool and outcome.
pub(super) struct DriverMetrics {
    /// By pool, in the order of [`PoolName::ALL`]: successful, then failed.
    requests: [[IntCounter; 2]; 2],
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
        Ok(Self { requests })
    }

    pub(super) fn count(&self, pool: PoolName, succeeded: bool) {
        let place = PoolName::ALL.iter().position(|known| *known == pool).unwrap_or_default();
        self.requests[place][usize::from(!succeeded)].inc();
    }
}
