//! The access log: one JSON line per request.

use std::fmt::Display;

use service_kit::telemetry::access;

use crate::request::{IpText, Outcome, RequestContext};
use crate::telemetry::json_line::JsonLine;

/// Writes the line of one request. Only the error may need JSON escapes.
pub(super) fn write(ctx: &RequestContext, outcome: &Outcome<'_>, error: Option<&dyn Display>) {
    access::write(|buffer| {
        let mut line = JsonLine::begin(buffer, "timestamp", access::append_now);
        line.plain("level", if outcome.status.starts_with('5') { "WARN" } else { "INFO" });
        line.plain("target", access::TARGET);
        line.plain("method", outcome.method);
        line.plain("route", outcome.route);
        line.raw("status", |buffer| buffer.extend_from_slice(outcome.status.as_bytes()));
        line.raw("duration_ms", |buffer| access::append_ms(buffer, outcome.duration));
        line.plain("request_id", ctx.request_id.to_ascii());
        line.plain("client", IpText::of(ctx.client.ip));
        line.number("request_bytes", ctx.request_bytes);
        line.number("response_bytes", outcome.response_bytes);
        if let Some(resolved) = ctx.resolved {
            line.plain("pool", resolved.pool.as_str());
        }
        if let Some(attempt) = &ctx.attempt {
            line.plain("instance", attempt.in_flight.instance().name().as_str());
        }
        // The strategy override of the lab.
        if let Some(strategy) = ctx.requested_strategy {
            line.plain("requested_strategy", strategy.as_str());
        }
        if let Some(stamp) = ctx.stamp() {
            line.plain("verdict", stamp.verdict.as_str());
            if let Some(key) = stamp.key {
                line.plain("key", key.to_ascii());
            }
            line.plain("epoch", stamp.epoch.to_ascii());
        }
        if !ctx.tried.is_empty() {
            line.plain_list("tried", ctx.tried.iter().map(|instance| instance.name().as_str()));
        }
        if let Some(code) = ctx.problem {
            line.plain("code", code.as_str());
        }
        if let Some(error) = error {
            // The whole chain: failed exchanges are logged only here.
            line.escaped("error", &error.to_string());
        }
        if let Some(trace_id) = ctx.trace.as_ref().and_then(|trace| trace.trace_id()) {
            line.display("trace_id", trace_id);
        }
        line.end();
    });
}
