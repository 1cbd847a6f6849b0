//! Attributes of a request's span.

use opentelemetry::KeyValue;
use proto_contracts::ErrorCode;

use crate::request::{Outcome, RequestContext};

/// Ends the request's span, if any.
pub(super) fn end(ctx: &mut RequestContext, outcome: &Outcome<'_>) {
    let Some(trace) = ctx.trace.take() else { return };
    if trace.trace_id().is_some() {
        trace.end(outcome, attributes(ctx), ctx.problem.map(ErrorCode::as_str));
    }
}

fn attributes(ctx: &RequestContext) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("url.scheme", ctx.client.scheme.as_str()),
        KeyValue::new("tandem.request_id", ctx.request_id.to_string()),
    ];
    if let Some(resolved) = ctx.resolved {
        attributes.push(KeyValue::new("tandem.pool", resolved.pool.as_str()));
    }
    if let Some(attempt) = &ctx.attempt {
        let instance = attempt.in_flight.instance().name().as_str();
        attributes.push(KeyValue::new("tandem.instance", instance.to_owned()));
    }
    if let Some(stamp) = ctx.stamp() {
        attributes.push(KeyValue::new("tandem.verdict", stamp.verdict.as_str()));
        attributes.push(KeyValue::new("tandem.epoch", stamp.epoch.to_string()));
        if let Some(key) = stamp.key {
            attributes.push(KeyValue::new("tandem.key", key.to_string()));
        }
    }
    attributes
}
