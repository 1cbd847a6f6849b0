//! Traces: spans exported over OTLP, if a collector is configured.
//!
//! A service's spans are `tracing` spans ([`spans`]), which find their parent across threads and
//! awaits. The gateway, whose requests run in phases and not in one future, creates its spans with
//! the [`tracer`].
//!
//! **Invariant:** without a collector, a request pays only for the check whether there is one.

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

use crate::tls::install_provider;
pub use config::TraceConfig;
use queue::{Batches, Counts};

/// The scope of the spans, and the target of `tracing` spans.
pub(super) const TARGET: &str = "tandem";
/// How long the shutdown waits for the last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    tracer: SdkTracer,
    follows_parent: bool,
    counts: IntCounterVec,
}

/// Traces cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum CannotTrace {
    /// The exporter rejects its settings.
    #[error("spans cannot be exported (OTEL_EXPORTER_OTLP_*)")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client cannot be built.
    #[error("the HTTP client for spans cannot be built")]
    Client(#[from] reqwest::Error),
    /// The exporter's metrics cannot be created.
    #[error("the metrics of traces cannot be created")]
    Metrics(#[from] prometheus::Error),
}

/// Sends the remaining spans when it is dropped.
pub(super) struct Flush(SdkTracerProvider);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Starts the export, in background threads.
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
    let attributes =
        config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let provider = SdkTracerProvider::builder()
        .with_sampler(config.sampler.to_sdk())
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .with_span_processor(Batches::new(exporter, batch, config.queue_size, &counts))
        .build();
    let tracer = provider.tracer(TARGET);
    // Started with the log, once per process.
    let _first = TRACES.set(Traces {
        tracer: tracer.clone(),
        follows_parent: config.sampler.follows_parent,
        counts: counts.into_metric(),
    });
    Ok((Flush(provider), tracer))
}

/// `None` without a collector.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|traces| &traces.tracer)
}

/// Whether a request is certainly not recorded: its sender does not record it, and the sampler
/// follows the sender.
pub fn is_unsampled(parent: Option<&TraceContext>) -> bool {
    TRACES.get().is_none_or(|traces| {
        traces.follows_parent && parent.is_some_and(|parent| !parent.is_sampled)
    })
}

/// The sender's context, as the parent of the request's span. `state` is the request's
/// `tracestate`.
pub fn remote(parent: &TraceContext, state: Option<&[u8]>) -> Context {
    let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    // A malformed list is ignored (W3C Trace Context, 3.3.1).
    let state = state
        .and_then(|state| std::str::from_utf8(state).ok()?.parse().ok())
        .unwrap_or(TraceState::NONE);
    let (trace_id, span_id) =
        (TraceId::from_bytes(parent.trace_id), SpanId::from_bytes(parent.span_id));
    Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// The trace context for requests that are sent under a span.
pub fn context_of(span: &SpanContext) -> TraceContext {
    TraceContext {
        trace_id: span.trace_id().to_bytes(),
        span_id: span.span_id().to_bytes(),
        is_sampled: span.is_sampled(),
    }
}

/// Counts of spans by outcome; `None` without a collector.
pub(super) fn counts() -> Option<IntCounterVec> {
    TRACES.get().map(|traces| traces.counts.clone())
}

/// The HTTP client for spans. It is blocking, like the export thread, and built in a thread since
/// it cannot be built within a runtime.
fn client(timeout: Duration) -> Result<reqwest::blocking::Client, reqwest::Error> {
    // The client needs it even for plain HTTP.
    install_provider();
    let build = move || {
        reqwest::blocking::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
    };
    match thread::spawn(build).join() {
        Ok(client) => client,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
