//! The log on standard output, the access log in it, and the metrics.

pub mod access;
pub mod metrics;
mod sink;

use std::error::Error;
use std::io;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use metrics::Metrics;
use sink::Sink;

/// Crates whose chatter at `info` tells an operator nothing, and two that call an error what is none: a client that sends
/// bytes that are no request or goes away in the middle of an answer, and a pooled connection that was not free at that
/// very moment, in whose stead another is opened. `LOG_LEVEL` can ask for them by name.
const QUIET: &str =
    "actix_http::h1=off,actix_server=warn,pingora_core::connectors=off,refinery_core=warn,tokio_postgres=warn";

/// A log was started before in this process.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the log was started twice")]
pub struct AlreadyStarted;

/// Keeps the log running. Dropping it writes what is still in memory: hold it until the end of `main`.
#[must_use = "dropping it ends the log"]
pub struct LogGuard(Arc<Sink>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts the log: JSON lines on standard output, written in batches by a thread of their own. A process that is
/// killed loses the lines of its last few milliseconds.
///
/// `filter` has the syntax of [`EnvFilter`]; [`ServiceConfig`](crate::config::ServiceConfig) has checked it. Panics are
/// logged as errors instead of being printed.
///
/// # Errors
/// When the process has a log already.
pub fn start(filter: &str) -> Result<LogGuard, AlreadyStarted> {
    let sink = Sink::start(Box::new(io::stdout()));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(EnvFilter::new(format!("{QUIET},{filter}")))
        .with_writer(SinkWriter(Arc::clone(&sink)))
        .try_init()
        .map_err(|_| AlreadyStarted)?;
    access::send_to(Arc::clone(&sink));
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "panic", at, "{message}");
    }));
    Ok(LogGuard(sink))
}

/// An error and its sources for the log, outermost first. Some errors quote their source themselves; it stands once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |source| (*source).source());
    sources.fold(error.to_string(), |text, source| {
        let source = source.to_string();
        if text.ends_with(&source) { text } else { format!("{text}: {source}") }
    })
}

/// Hands each line of `tracing` to the sink.
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
