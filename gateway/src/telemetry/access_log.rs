//! The access log: one JSON line per request.

use std::fmt::Display;

use service_kit::telemetry::access;

use crate::request::{IpText, Outcome, RequestContext};
use crate::telemetry::json_line::{JsonLine, key};

/// Writes the line of one request. Only the error may need JSON escapes.
pub(super) fn write(ctx: &RequestContext, outcome: &Outcome<'_>, error: Option<&dyn Display>) {
    access::write(|buffer| {
        let mut line = JsonLine::begin(buffer, key!("timestamp"), access::append_now);
        line.plain(key!("level"), if outcome.status.starts_with('5') { "WARN" } else { "INFO" });
        line.plain(key!("target"), access::TARGET);
        line.plain(key!("method"), outcome.method);
        line.plain(key!("route"), outcome.route);
        line.raw(key!("status"), |buffer| buffer.extend_from_slice(outcome.status.as_bytes()));
        line.raw(key!("duration_ms"), |buffer| access::append_ms(buffer, outcome.duration));
        line.plain(key!("request_id"), ctx.request_id.to_ascii());
        line.plain(key!("client"), IpText::of(ctx.client.ip));
        line.number(key!("request_bytes"), ctx.request_bytes);
        line.number(key!("response_bytes"), outcome.response_bytes);
        if let Some(resolved) = ctx.resolved {
            line.plain(key!("pool"), resolved.pool.as_str());
        }
        if let Some(attempt) = &ctx.attempt {
            line.plain(key!("instance"), attempt.in_flight.instance().name().as_str());
        }
        // The strategy override of the lab.
        if let Some(strategy) = ctx.requested_strategy {
            line.plain(key!("requested_strategy"), strategy.as_str());
        }
        if let Some(stamp) = ctx.stamp() {
            line.plain(key!("verdict"), stamp.verdict.as_str());
            if let Some(key) = stamp.key {
                line.plain(key!("key"), key.to_ascii());
            }
            line.plain(key!("epoch"), stamp.epoch.to_ascii());
        }
        if !ctx.tried.is_empty() {
            line.plain_list(
                key!("tried"),
                ctx.tried.iter().map(|instance| instance.name().as_str()),
            );
        }
        if let Some(code) = ctx.problem {
            line.plain(key!("code"), code.as_str());
        }
        if let Some(error) = error {
            // The whole chain: failed exchanges are logged only here.
            line.escaped(key!("error"), &error.to_string());
        }
        if let Some(trace_id) = ctx.trace.as_ref().and_then(|trace| trace.trace_id()) {
            line.display(key!("trace_id"), trace_id);
        }
        line.end();
    });
}
