//! Metrics of the relay.

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};

use crate::store::revocations::Backlog;

/// How an attempt to deliver a revocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The stateful service has applied it.
    Delivered,
    /// The response was an error of the request.
    Rejected,
    /// No response, or one of a server that cannot take it now.
    Failed,
}

impl Delivery {
    const ALL: [Self; 3] = [Self::Delivered, Self::Rejected, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// Measures the outbox, and counts deliveries. Cheap to clone.
#[derive(Clone)]
pub struct RelayMetrics {
    lag: Gauge,
    waiting: IntGauge,
    deliveries: IntCounterVec,
}

impl RelayMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let lag = Gauge::new(
            "accounts_revocation_lag_seconds",
            "Age of the oldest revocation that is not delivered; 0 when there is none",
        )?;
        let waiting = IntGauge::new(
            "accounts_revocations_waiting",
            "Revocations that are not delivered, of all instances",
        )?;
        let deliveries = IntCounterVec::new(
            Opts::new(
                "accounts_revocation_deliveries_total",
                "Attempts to deliver a revocation, by outcome",
            ),
            &["outcome"],
        )?;
        // So that rates begin at 0.
        for outcome in Delivery::ALL {
            deliveries.with_label_values(&[outcome.label()]);
        }
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(deliveries.clone()))?;
        Ok(Self { lag, waiting, deliveries })
    }

    pub(super) fn backlog(&self, backlog: Backlog) {
        self.lag.set(backlog.oldest.as_secs_f64());
        self.waiting.set(backlog.rows);
    }

    pub(super) fn attempted(&self, outcome: Delivery) {
        self.deliveries.with_label_values(&[outcome.label()]).inc();
    }
}
