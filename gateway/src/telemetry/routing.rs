//! Counters of how requests were routed. Each is looked up once, not per request.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use proto_contracts::{PoolName, Verdict};
use service_kit::telemetry::metrics::DURATION_BUCKETS;

use crate::request::RequestContext;
use crate::resilience::outlier::Reason;

/// Which limit a request exceeded that was refused unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// What its pool answers in good time.
    PoolLimit,
    /// What each instance that is left may have in flight.
    InstanceLimit,
    /// Its client's rate.
    ClientRate,
    /// What its client may hold at once.
    ClientHoldings,
}

impl Shed {
    /// Every reason, in the order of their numbers.
    const ALL: [Self; 4] = [Self::PoolLimit, Self::InstanceLimit, Self::ClientRate, Self::ClientHoldings];

    /// The reason as it stands in metric labels.
    const fn as_str(self) -> &'static str {
        match self {
            Self::PoolLimit => "pool_limit",
            Self::InstanceLimit => "instance_limit",
            Self::ClientRate => "client_rate",
            Self::ClientHoldings => "client_holdings",
        }
    }
}

/// What the data path counts.
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
    /// The counters, registered.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let verdicts = IntCounterVec::new(
            Opts::new("gateway_affinity_total", "Requests routed, by the reason for where they went."),
            &["pool", "verdict"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("gateway_upstream_retries_total", "Requests sent once more after an instance failed."),
            &["pool"],
        )?;
        let refused_retries = IntCounterVec::new(
            Opts::new("gateway_upstream_retries_refused_total", "Failed requests that the retry budget let fail."),
            &["pool"],
        )?;
        let shed = IntCounterVec::new(
            Opts::new("gateway_requests_shed_total", "Requests that were refused unsent, by what was exceeded."),
            &["pool", "reason"],
        )?;
        let ejections = IntCounterVec::new(
            Opts::new(
                "gateway_upstream_ejections_total",
                "Instances left out for failing requests, by how they failed.",
            ),
            &["pool", "reason"],
        )?;
        let upstream = HistogramVec::new(
            HistogramOpts::new(
                "gateway_upstream_request_duration_seconds",
                "From when an instance was chosen to the header of its answer.",
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
        let ejection = |pool: PoolName, reason: Reason| ejections.with_label_values(&[pool.as_str(), reason.as_str()]);
        let verdict = |pool: PoolName, verdict: Verdict| verdicts.with_label_values(&[pool.as_str(), verdict.as_str()]);
        Ok(Self {
            verdicts: PoolName::ALL.map(|pool| Verdict::ALL.map(|of| verdict(pool, of))),
            refused_retries: PoolName::ALL.map(|pool| refused_retries.with_label_values(&[pool.as_str()])),
            shed: PoolName::ALL
                .map(|pool| Shed::ALL.map(|reason| shed.with_label_values(&[pool.as_str(), reason.as_str()]))),
            ejections: PoolName::ALL.map(|pool| Reason::ALL.map(|reason| ejection(pool, reason))),
            retries: PoolName::ALL.map(|pool| retries.with_label_values(&[pool.as_str()])),
            upstream: PoolName::ALL.map(|pool| upstream.with_label_values(&[pool.as_str()])),
        })
    }

    /// Notes where a request went, if it went anywhere.
    pub fn observe(&self, ctx: &RequestContext) {
        if let (Some(resolved), Some(stamp)) = (ctx.resolved, ctx.stamp()) {
            self.verdicts[resolved.pool as usize][stamp.verdict as usize].inc();
        }
    }

    /// Notes how long an instance took.
    pub fn observe_upstream(&self, pool: PoolName, took: Duration) {
        self.upstream[pool as usize].observe(took.as_secs_f64());
    }

    /// Notes that a request goes to an instance once more.
    pub fn count_retry(&self, pool: PoolName) {
        self.retries[pool as usize].inc();
    }

    /// Notes that a request was not sent once more, since the budget is used up.
    pub fn count_refused_retry(&self, pool: PoolName) {
        self.refused_retries[pool as usize].inc();
    }

    /// Notes that a request was refused unsent.
    pub fn count_shed(&self, pool: PoolName, reason: Shed) {
        self.shed[pool as usize][reason as usize].inc();
    }

    /// Notes that an instance was ejected.
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
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encodes");
        assert!(text.contains(r#"gateway_affinity_total{pool="stateful",verdict="failover"} 7"#), "{text}");
        assert!(text.contains(r#"gateway_upstream_retries_total{pool="stateless"} 1"#), "{text}");
    }
}
