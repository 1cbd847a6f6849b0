//! Traces: spans that go to a collector over OTLP, when there is one.
//!
//! A service's spans are `tracing` spans ([`spans`]), so that a span finds its parent across threads and awaits. The
//! gateway, whose work comes in phases and not in one future, makes its own with the [`tracer`].
//!
//! **Invariant:** where no collector is configured, all that a request pays for is to look whether one is.

mod config;
mod queue;
pub mod spans;

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracer, SdkTracerProvider};
use prometheus::IntCounterVec;
use proto_contracts::TraceContext;

pub use config::TraceConfig;
use queue::{Batches, Counts};

/// The scope of the spans, and the target of those that are made with `tracing`.
pub(super) const TARGET: &str = "tandem";
/// How long the end of a process waits for its last spans to be sent.
const FLUSH: Duration = Duration::from_secs(2);

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    tracer: SdkTracer,
    follows_parent: bool,
    counts: IntCounterVec,
}

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CannotTrace {
    /// The exporter refuses its settings.
    #[error("spans cannot be exported (OTEL_EXPORTER_OTLP_*)")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client cannot be made.
    #[error("no HTTP client can be made that spans are sent by")]
    Client(#[from] reqwest::Error),
    /// The metrics of the exporter cannot be made.
    #[error("the metrics of traces cannot be made")]
    Metrics(#[from] prometheus::Error),
}

/// Sends what is left when it is dropped.
pub(super) struct Flush(SdkTracerProvider);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Starts to send spans, from threads of their own.
pub(super) fn start(config: &TraceConfig) -> Result<(Flush, SdkTracer), CannotTrace> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client(config.timeout)?)
        .with_endpoint(config.endpoint.clone())
        .with_timeout(config.timeout)
        .build()?;
    let counts = Counts::new()?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(config.queue_size)
        .with_scheduled_delay(config.schedule_delay)
        .build();
    let attributes = config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let provider = SdkTracerProvider::builder()
        .with_sampler(config.sampler.to_sdk())
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .with_span_processor(Batches::new(exporter, batch, config.queue_size, &counts))
        .build();
    let tracer = provider.tracer(TARGET);
    // The log, which starts once in a process, starts this; a second one cannot come.
    let _first = TRACES.set(Traces {
        tracer: tracer.clone(),
        follows_parent: config.sampler.follows_parent,
        counts: counts.into_metric(),
    });
    Ok((Flush(provider), tracer))
}

/// Makes spans, when there is a collector.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|traces| &traces.tracer)
}

/// Whether a request is certainly not recorded: whoever sent it does not record it, and we do as the sender does.
pub fn is_left_out(parent: Option<&TraceContext>) -> bool {
    TRACES.get().is_none_or(|traces| traces.follows_parent && parent.is_some_and(|parent| !parent.is_sampled))
}

/// The context of a request's sender, for the span that is made of the request. `state` is the request's `tracestate`.
pub fn remote(parent: &TraceContext, state: Option<&[u8]>) -> Context {
    let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    // A list that cannot be read is as good as none (W3C Trace Context, 3.3.1).
    let state = state.and_then(|state| std::str::from_utf8(state).ok()?.parse().ok()).unwrap_or(TraceState::NONE);
    let (trace_id, span_id) = (TraceId::from_bytes(parent.trace_id), SpanId::from_bytes(parent.span_id));
    Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// What a request that is sent under a span says of it.
pub fn sent_under(span: &SpanContext) -> TraceContext {
    TraceContext {
        trace_id: span.trace_id().to_bytes(),
        span_id: span.span_id().to_bytes(),
        is_sampled: span.is_sampled(),
    }
}

/// What became of spans, for the registry of a process that makes some.
pub(super) fn counts() -> Option<IntCounterVec> {
    TRACES.get().map(|traces| traces.counts.clone())
}

/// The client that spans are sent by. It blocks, as the thread does that exports them; it is made in a thread, since it
/// cannot be made where asynchronous code runs.
fn client(timeout: Duration) -> Result<reqwest::blocking::Client, reqwest::Error> {
    // The client asks for the process's provider of cryptography, even to speak plain HTTP. A program that has chosen one
    // keeps it: then this changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let make = move || {
        reqwest::blocking::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()
    };
    match thread::spawn(make).join() {
        Ok(made) => made,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
