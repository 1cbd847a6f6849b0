//! The spans of a sampled request: one for the request, and a child for each attempt.
//!
//! They use OpenTelemetry's API directly, because Pingora's phases are not one future that a
//! `tracing` span could follow. Names and attributes follow the semantic conventions; own ones
//! begin with `tandem.`. Spans contain no path, which may contain a session id.

use std::time::{Instant, SystemTime};

use http::HeaderName;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _,
};
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_sdk::trace::Span;
use proto_contracts::{Resolved, TraceContext, headers};
use service_kit::telemetry::metrics::method_label;
use service_kit::telemetry::traces;

use crate::pool::Instance;
use crate::request::head::{FieldSink, RequestHead};
use crate::request::outcome::Outcome;

const TRACEPARENT: HeaderName = HeaderName::from_static(headers::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(headers::TRACESTATE);

/// The spans of a request.
pub struct RequestTrace {
    span: Span,
    /// Whether it continues the client's trace, with its `tracestate`.
    continues: bool,
    method: &'static str,
    attempt: Option<Span>,
    attempts: i64,
}

impl RequestTrace {
    /// Begins the span of a request. `None` without a collector, and for a request that the
    /// parent-based sampler leaves out.
    pub fn begin(
        head: &impl RequestHead,
        resolved: &Resolved,
        began: Instant,
    ) -> Option<Box<Self>> {
        let tracer = traces::tracer()?;
        let parent = parent(head);
        if traces::is_unsampled(parent.as_ref()) {
            return None;
        }
        let state = head.value(TRACESTATE);
        let sender =
            parent.as_ref().map_or_else(Context::new, |parent| traces::remote(parent, state));
        let method = method_label(head.method().as_str());
        let span = tracer
            .span_builder(format!("{method} {}", resolved.template()))
            .with_kind(SpanKind::Server)
            .with_start_time(SystemTime::now() - began.elapsed())
            .start_with_context(tracer, &sender);
        Some(Box::new(Self {
            span,
            continues: parent.is_some(),
            method,
            attempt: None,
            attempts: 0,
        }))
    }

    /// Begins the span of an attempt.
    pub fn attempt_begins(&mut self, instance: &Instance) {
        let Some(tracer) = traces::tracer().filter(|_| self.span.is_recording()) else { return };
        let mut attributes = vec![
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("server.address", instance.addr().ip().to_string()),
            KeyValue::new("server.port", i64::from(instance.addr().port())),
            KeyValue::new("tandem.instance", instance.name().as_str().to_owned()),
        ];
        if self.attempts > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", self.attempts));
        }
        self.attempts += 1;
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = tracer
            .span_builder(self.method)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        self.attempt = Some(builder.start_with_context(tracer, &parent));
    }

    /// Ends the span of the failed attempt.
    pub fn attempt_failed(&mut self, error: &str) {
        if let Some(mut attempt) = self.attempt.take() {
            fail(&mut attempt, error.to_owned());
        }
    }

    /// The trace id, if recorded.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.span.is_recording().then(|| self.span.span_context().trace_id())
    }

    /// Ends the request's span with these attributes, and that of its last attempt. `error` is the
    /// code of a local reply.
    pub fn end(
        mut self: Box<Self>,
        outcome: &Outcome<'_>,
        attributes: Vec<KeyValue>,
        error: Option<&str>,
    ) {
        let status = outcome.status.parse::<i64>().unwrap_or_default();
        if let Some(mut attempt) = self.attempt.take() {
            attempt.set_attribute(KeyValue::new("http.response.status_code", status));
            if status >= 400 {
                fail(&mut attempt, outcome.status.to_owned());
            }
        }
        let span = &mut self.span;
        span.set_attributes([
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("http.route", outcome.route),
            KeyValue::new("http.response.status_code", status),
        ]);
        span.set_attributes(attributes);
        if status >= 500 {
            fail(span, error.unwrap_or(outcome.status).to_owned());
        }
    }

    /// The context for the instance.
    fn sent_under(&self) -> TraceContext {
        traces::context_of(self.attempt.as_ref().unwrap_or(&self.span).span_context())
    }
}

/// Which of the client's trace fields the instance gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentTrace {
    /// None.
    Dropped,
    /// `tracestate` alone; the gateway sets `traceparent`.
    State,
    /// Both.
    Both,
}

/// Propagates the trace context to the instance. Returns which of the client's fields it gets.
///
/// A client's valid `traceparent` is forwarded with its `tracestate`; with a collector, the
/// gateway's span replaces the parent. An invalid one is dropped with its `tracestate` (W3C Trace
/// Context, 4.3). Without a collector the gateway begins no trace, so that the services can.
pub fn pass_on(
    head: &impl RequestHead,
    trace: Option<&RequestTrace>,
    sink: &mut impl FieldSink,
) -> SentTrace {
    match trace {
        Some(trace) => {
            sink.set(&TRACEPARENT, &trace.sent_under().to_ascii());
            if trace.continues { SentTrace::State } else { SentTrace::Dropped }
        }
        None if head.value(TRACEPARENT).is_none() => SentTrace::Both,
        None if parent(head).is_some() => SentTrace::Both,
        None => SentTrace::Dropped,
    }
}

/// The client's trace context; `None` if there is more than one.
fn parent(head: &impl RequestHead) -> Option<TraceContext> {
    TraceContext::parse(head.single(TRACEPARENT)?)
}

fn fail(span: &mut Span, error: String) {
    span.set_attribute(KeyValue::new("error.type", StringValue::from(error)));
    span.set_status(Status::error(""));
}
