//! A request in the event stream.

use proto_contracts::PoolName;
use proto_contracts::control::Routed;

use crate::request::{Outcome, RequestContext};

/// The event of a sampled request.
pub(super) fn event(
    ctx: &RequestContext,
    outcome: &Outcome<'_>,
    pool: PoolName,
    sample_weight: u64,
) -> Routed {
    let stamp = ctx.stamp();
    Routed {
        pool,
        instance: ctx.attempt.as_ref().map(|attempt| attempt.in_flight.instance().name().clone()),
        verdict: stamp.map(|stamp| stamp.verdict),
        strategy: ctx.attempt.as_ref().map(|attempt| attempt.strategy),
        key: ctx.key.map(|client| client.key),
        epoch: stamp.map(|stamp| stamp.epoch),
        method: outcome.method.into(),
        route: outcome.route.into(),
        status: outcome.status.parse().unwrap_or_default(),
        duration_ms: outcome.duration_ms(),
        tried: ctx.tried.iter().map(|instance| instance.name().clone()).collect(),
        code: ctx.problem,
        request_id: ctx.request_id,
        sample_weight,
    }
}
