//! Log, access log, metrics and traces.

pub mod access;
pub mod metrics;
mod pools;
mod sink;
pub mod traces;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, fmt, registry};

pub use metrics::Metrics;
use sink::Sink;
pub use traces::TraceConfig;
use traces::{CannotTrace, Flush};

/// Crates that are noisy at `info`, and two that log normal events as errors: malformed requests
/// and client disconnects, and a pooled connection that was busy. `LOG_LEVEL` can enable them by
/// name.
const QUIET: &str = "actix_http::h1=off,actix_server=warn,pingora_core::connectors=off,\
                     refinery_core=warn,tokio_postgres=warn";

/// The log or the traces cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process already has a log.
    #[error("the log was started twice")]
    AlreadyStarted(#[from] TryInitError),
    /// Traces cannot be sent.
    #[error("traces cannot be sent")]
    Traces(#[from] CannotTrace),
}

impl StartError {
    /// Prints the error to standard error and returns the exit status for `main`.
    pub fn exit(&self) -> ExitCode {
        use std::io::Write as _;
        let _unread = writeln!(io::stderr(), "cannot start: {}", chain(self));
        ExitCode::FAILURE
    }
}

/// Flushes spans and log lines when it is dropped: hold it until the end of `main`.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    flush: Option<Flush>,
    sink: Arc<Sink>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // Before the sink, since it may log.
        drop(self.flush.take());
        self.sink.close();
    }
}

/// Starts the log: JSON lines on standard output, written in batches by a background thread. A
/// killed process loses the lines of its last few milliseconds.
///
/// `filter` has the syntax of [`EnvFilter`]; [`ServiceConfig`](crate::config::ServiceConfig) has
/// checked it. Panics are logged as errors. `traces` also starts the export of spans.
///
/// # Errors
/// When the process already has a log, or the exporter cannot be built.
pub fn start(filter: &str, traces: Option<&TraceConfig>) -> Result<LogGuard, StartError> {
    let sink = Sink::start(Box::new(io::stdout()));
    let filter = EnvFilter::new(format!("{QUIET},{filter},{}=off", traces::TARGET));
    let flush = match traces {
        None => {
            registry().with(filter).with(lines(&sink)).try_init()?;
            None
        }
        Some(config) => {
            let (flush, tracer) = traces::start(config)?;
            let spans = tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_context_activation(false)
                .with_filter(filter_fn(|of| of.is_span() && of.target() == traces::TARGET));
            registry().with(lines(&sink).with_filter(filter)).with(spans).try_init()?;
            Some(flush)
        }
    };
    access::send_to(Arc::clone(&sink));
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "panic", at, "{message}");
    }));
    Ok(LogGuard { flush, sink })
}

/// An error and its sources, outermost first. A source that its error already quotes is not
/// repeated.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |source| (*source).source());
    sources.fold(error.to_string(), |text, source| {
        let source = source.to_string();
        if text.ends_with(&source) { text } else { format!("{text}: {source}") }
    })
}

/// The JSON layer over the sink.
fn lines<S>(sink: &Arc<Sink>) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(SinkWriter(Arc::clone(sink)))
}

/// Writes each line of `tracing` to the sink.
struct SinkWriter(Arc<Sink>);

impl<'a> MakeWriter<'a> for SinkWriter {
    type Writer = &'a Sink;

    fn make_writer(&'a self) -> Self::Writer {
        &self.0
    }
}

impl io::Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
