//! The access log: one JSON line for each request.

use std::fmt::Display;
use std::net::IpAddr;

use jiff::Timestamp;
use opentelemetry::trace::TraceId;
use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, Epoch, ErrorCode, RequestId};
use serde::{Serialize, Serializer};
use service_kit::telemetry::access;

use crate::proxy::RequestContext;
use crate::telemetry::Outcome;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'static str,
    target: &'static str,
    method: &'static str,
    route: &'static str,
    #[serde(serialize_with = "as_number")]
    status: &'a str,
    duration_ms: f64,
    #[serde(serialize_with = "as_text")]
    request_id: RequestId,
    client: IpAddr,
    request_bytes: u64,
    response_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The one that the request asked for, in the lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_strategy: Option<Strategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<AffinityKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    trace_id: Option<TraceId>,
}

/// Writes the line of one request.
pub(super) fn write(ctx: &RequestContext, outcome: &Outcome<'_>, error: Option<&dyn Display>) {
    access::write(|buffer| {
        let stamp = ctx.stamp();
        let line = Line {
            timestamp: Timestamp::now(),
            level: if outcome.status.starts_with('5') { "WARN" } else { "INFO" },
            target: access::TARGET,
            method: outcome.method,
            route: outcome.route,
            status: outcome.status,
            duration_ms: outcome.duration_ms(),
            request_id: ctx.request_id,
            client: ctx.client.ip,
            request_bytes: ctx.request_bytes,
            response_bytes: outcome.response_bytes,
            pool: ctx.resolved.map(|resolved| resolved.pool.as_str()),
            instance: ctx.attempt.as_ref().map(|attempt| attempt.in_flight.instance().name().as_str()),
            asked_strategy: ctx.asked_strategy,
            verdict: stamp.map(|stamp| stamp.verdict.as_str()),
            key: stamp.and_then(|stamp| stamp.key),
            epoch: stamp.map(|stamp| stamp.epoch),
            tried: ctx.tried.iter().map(|instance| instance.name().as_str()).collect(),
            code: ctx.problem,
            // The whole chain: this is the one place where a failed exchange is logged.
            error: error.map(ToString::to_string),
            trace_id: ctx.trace.as_ref().and_then(|trace| trace.trace_id()),
        };
        match serde_json::to_writer(&mut *buffer, &line) {
            Ok(()) => buffer.push(b'\n'),
            // Half a line would break the reader; there is no value here that could fail.
            Err(_) => buffer.clear(),
        }
    });
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_text_if_any<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn as_number<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(text.parse().unwrap_or_default())
}
