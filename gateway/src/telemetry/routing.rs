//! Metrics of routing. Labels are resolved once, not per request.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use proto_contracts::{PoolName, Verdict};
use service_kit::telemetry::metrics::DURATION_BUCKETS;

use crate::request::RequestContext;
use crate::resilience::outlier::Reason;

/// The limit by which a request was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The adaptive limit of the pool.
    PoolLimit,
    /// `max_in_flight` of all remaining instances.
    InstanceLimit,
    /// The client's rate limit.
    ClientRate,
    /// The client's concurrency limit.
    ClientHoldings,
}

impl Shed {
    /// Every reason, in the order of their discriminants.
    const ALL: [Self; 4] =
        [Self::PoolLimit, Self::InstanceLimit, Self::ClientRate, Self::ClientHoldings];

    /// The label in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::PoolLimit => "pool_limit",
            Self::InstanceLimit => "instance_limit",
            Self::ClientRate => "client_rate",
            Self::ClientHoldings => "client_holdings",
        }
    }
}

/// Metrics of the data path.
#[derive(Debug)]
pub struct RoutingMetrics {
    verdicts: [[IntCounter; Verdict::ALL.len()]; PoolName::ALL.len()],
    retries: [IntCounter; PoolName::ALL.len()],
    refused_retries: [IntCounter; PoolName::ALL.len()],
    shed: [[IntCounter; Shed::ALL.len()]; PoolName::ALL.len()],
    ejections: [[IntCounter; Reason::ALL.len()]; PoolName::ALL.len()],
    upstream: [Histogram; PoolName::ALL.len()],
}

impl RoutingMetrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let verdicts = IntCounterVec::new(
            Opts::new("gateway_affinity_total", "Requests routed, by verdict."),
            &["pool", "verdict"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("gateway_upstream_retries_total", "Requests that were retried."),
            &["pool"],
        )?;
        let refused_retries = IntCounterVec::new(
            Opts::new(
                "gateway_upstream_retries_refused_total",
                "Retries that the retry budget did not allow.",
            ),
            &["pool"],
        )?;
        let shed = IntCounterVec::new(
            Opts::new(
                "gateway_requests_shed_total",
                "Requests rejected before they were sent upstream, by the limit they exceeded.",
            ),
            &["pool", "reason"],
        )?;
        let ejections = IntCounterVec::new(
            Opts::new("gateway_upstream_ejections_total", "Outlier ejections, by kind of failure."),
            &["pool", "reason"],
        )?;
        let upstream = HistogramVec::new(
            HistogramOpts::new(
                "gateway_upstream_request_duration_seconds",
                "Time from the choice of the instance to its response header.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &["pool"],
        )?;
        registry.register(Box::new(upstream.clone()))?;
        registry.register(Box::new(verdicts.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(refused_retries.clone()))?;
        registry.register(Box::new(shed.clone()))?;
        registry.register(Box::new(ejections.clone()))?;
        let ejection = |pool: PoolName, reason: Reason| {
            ejections.with_label_values(&[pool.as_str(), reason.as_str()])
        };
        let verdict = |pool: PoolName, verdict: Verdict| {
            verdicts.with_label_values(&[pool.as_str(), verdict.as_str()])
        };
        Ok(Self {
            verdicts: PoolName::ALL.map(|pool| Verdict::ALL.map(|of| verdict(pool, of))),
            refused_retries: PoolName::ALL
                .map(|pool| refused_retries.with_label_values(&[pool.as_str()])),
            shed: PoolName::ALL.map(|pool| {
                Shed::ALL.map(|reason| shed.with_label_values(&[pool.as_str(), reason.as_str()]))
            }),
            ejections: PoolName::ALL.map(|pool| Reason::ALL.map(|reason| ejection(pool, reason))),
            retries: PoolName::ALL.map(|pool| retries.with_label_values(&[pool.as_str()])),
            upstream: PoolName::ALL.map(|pool| upstream.with_label_values(&[pool.as_str()])),
        })
    }

    /// Counts a routed request by verdict.
    pub fn observe(&self, ctx: &RequestContext) {
        if let (Some(resolved), Some(stamp)) = (ctx.resolved, ctx.stamp()) {
            self.verdicts[resolved.pool as usize][stamp.verdict as usize].inc();
        }
    }

    /// Records the latency of an instance.
    pub fn observe_upstream(&self, pool: PoolName, took: Duration) {
        self.upstream[pool as usize].observe(took.as_secs_f64());
    }

    /// Counts a retry.
    pub fn count_retry(&self, pool: PoolName) {
        self.retries[pool as usize].inc();
    }

    /// Counts a retry that the budget did not allow.
    pub fn count_refused_retry(&self, pool: PoolName) {
        self.refused_retries[pool as usize].inc();
    }

    /// Counts a shed request.
    pub fn count_shed(&self, pool: PoolName, reason: Shed) {
        self.shed[pool as usize][reason as usize].inc();
    }

    /// Counts an ejection.
    pub fn count_ejection(&self, pool: PoolName, reason: Reason) {
        self.ejections[pool as usize][reason as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_and_pool_has_its_own_counter() {
        let registry = Registry::new();
        let metrics = RoutingMetrics::new(&registry).expect("registers");
        for (place, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place, "the table is indexed by the verdict");
        }
        for (place, pool) in PoolName::ALL.into_iter().enumerate() {
            assert_eq!(pool as usize, place, "and by the pool");
        }
        metrics.verdicts[PoolName::Stateful as usize][Verdict::Failover as usize].inc_by(7);
        metrics.count_retry(PoolName::Stateless);
        let text =
            prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encodes");
        assert!(
            text.contains(r#"gateway_affinity_total{pool="stateful",verdict="failover"} 7"#),
            "{text}"
        );
        assert!(text.contains(r#"gateway_upstream_retries_total{pool="stateless"} 1"#), "{text}");
    }
}
