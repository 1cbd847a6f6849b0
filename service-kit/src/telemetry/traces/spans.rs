//! The spans of a service: one per request, and a child per call to Redis and PostgreSQL.
//!
//! Names and attributes follow OpenTelemetry's semantic conventions. No span has a path, a key or a
//! value, since a path may contain a session id.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{PoisonError, RwLock};

use opentelemetry::trace::{TraceContextExt as _, TraceId};
use proto_contracts::{RequestId, TraceContext};
use redis::{Cmd, RedisError};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{TARGET, is_unsampled, remote, tracer};

/// The span of a request; empty for requests that are not recorded.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpan {
    span: Span,
    trace_id: Option<TraceId>,
}

/// The data of a request's span.
pub(crate) struct Received<'a> {
    /// A known method, or `_OTHER`.
    pub(crate) method: &'static str,
    /// The route's template.
    pub(crate) route: &'static str,
    /// The request's id in logs.
    pub(crate) request_id: RequestId,
    /// The sender's trace context.
    pub(crate) parent: Option<TraceContext>,
    /// The `tracestate` header.
    pub(crate) state: Option<&'a [u8]>,
}

impl RequestSpan {
    /// For a request that is not recorded.
    pub(crate) fn none() -> Self {
        Self { span: Span::none(), trace_id: None }
    }

    /// Begins a span, if the request is recorded.
    pub(crate) fn begin<'a>(received: impl FnOnce() -> Received<'a>) -> Self {
        if tracer().is_none() {
            return Self::none();
        }
        let Received { method, route, request_id, parent, state } = received();
        if is_unsampled(parent.as_ref()) {
            return Self::none();
        }
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            "http.request.method" = method,
            "http.route" = route,
            "url.scheme" = "http",
            "tandem.request_id" = %request_id,
            "http.response.status_code" = Empty,
            "error.type" = Empty,
            otel.status_code = Empty,
        );
        if let Some(parent) = parent {
            // It fails only for spans that are disabled or already started.
            let _result = span.set_parent(remote(&parent, state));
        }
        let context = span.context();
        let of_trace = context.span().span_context().clone();
        if of_trace.is_sampled() {
            Self { span, trace_id: Some(of_trace.trace_id()) }
        } else {
            Self::none()
        }
    }

    /// The span to run the handler in.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The trace, if it is recorded.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// Records the response. `code` is the error code of a failure.
    pub(crate) fn finish(&self, status: u16, code: Option<impl Display>) {
        if self.trace_id.is_none() {
            return;
        }
        self.span.record("http.response.status_code", status);
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
            self.span.record(
                "error.type",
                code.map_or_else(|| status.to_string(), |code| code.to_string()),
            );
        }
    }
}

/// The span of a database call within a recorded request; else empty. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "the call ends when it is dropped"]
pub struct Call(Span);

impl Call {
    /// A PostgreSQL query. `summary` is like `SELECT products`, and `sql` has parameters instead of
    /// values.
    pub fn to_postgres(summary: &'static str, sql: &'static str) -> Self {
        Self::begin(|| {
            tracing::info_span!(
                target: TARGET,
                "postgres",
                otel.name = summary,
                otel.kind = "client",
                "db.system.name" = "postgresql",
                "db.operation.name" = summary.split(' ').next(),
                "db.query.summary" = summary,
                "db.query.text" = sql,
                "error.type" = Empty,
                otel.status_code = Empty,
            )
        })
    }

    /// A Redis command or script call.
    pub(crate) fn to_redis(command: &Cmd) -> Self {
        Self::begin(|| {
            let (name, script) = redis_names(command);
            let script_name = script.as_deref();
            let title = script_name.map(|script| format!("{name} {script}"));
            tracing::info_span!(
                target: TARGET,
                "redis",
                otel.name = title.as_deref().unwrap_or(&name),
                otel.kind = "client",
                "db.system.name" = "redis",
                "db.operation.name" = name,
                "db.stored_procedure.name" = script_name,
                "error.type" = Empty,
                otel.status_code = Empty,
            )
        })
    }

    /// A Redis pipeline.
    pub(crate) fn to_redis_pipeline(commands: usize) -> Self {
        Self::begin(|| {
            tracing::info_span!(
                target: TARGET,
                "redis",
                otel.name = "PIPELINE",
                otel.kind = "client",
                "db.system.name" = "redis",
                "db.operation.name" = "PIPELINE",
                "db.operation.batch.size" = commands,
                "error.type" = Empty,
                otel.status_code = Empty,
            )
        })
    }

    /// Records a failure. `error` must be one of a small set.
    pub fn failed(&self, error: &str) {
        self.0.record("otel.status_code", "ERROR");
        self.0.record("error.type", error);
    }

    pub(crate) fn redis_ended<T>(&self, result: &Result<T, RedisError>) {
        if let (false, Err(error)) = (self.0.is_none(), result) {
            self.failed(error.code().unwrap_or_else(|| error.category()));
        }
    }

    fn begin(make: impl FnOnce() -> Span) -> Self {
        // Not recorded outside a recorded request: a background task's spans would have no parent.
        let is_recorded = tracer().is_some() && !Span::current().is_none();
        Self(if is_recorded { make() } else { Span::none() })
    }
}

/// Names of scripts by hash, shared by all pools.
// A lock, since scripts are registered one by one; taken only when a call is recorded.
static SCRIPTS: RwLock<Option<HashMap<String, &'static str>>> = RwLock::new(None);

/// Sets the name of a script in spans.
pub fn name_script(script: &redis::Script, name: &'static str) {
    let mut scripts = SCRIPTS.write().unwrap_or_else(PoisonError::into_inner);
    scripts.get_or_insert_default().insert(script.get_hash().to_owned(), name);
}

/// A command's name, and the name of the script that it calls, if any.
fn redis_names(command: &Cmd) -> (String, Option<String>) {
    let mut words = command.args_iter().map(|arg| match arg {
        redis::Arg::Simple(word) => String::from_utf8_lossy(word),
        _ => "?".into(),
    });
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    if name != "EVALSHA" {
        return (name, None);
    }
    let hash = words.next().unwrap_or_default();
    let scripts = SCRIPTS.read().unwrap_or_else(PoisonError::into_inner);
    let known = scripts.as_ref().and_then(|scripts| scripts.get(&*hash).copied());
    (name, Some(known.map_or_else(|| hash.into_owned(), str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_without_its_arguments() {
        let mut set = redis::cmd("set");
        set.arg("a key").arg("a value");
        assert_eq!(redis_names(&set), ("SET".to_owned(), None));
    }

    #[test]
    fn a_script_is_named_if_it_is_registered() {
        let (known, unknown) = (redis::Script::new("return 1"), redis::Script::new("return 2"));
        name_script(&known, "one");
        let call =
            |script: &redis::Script| redis::cmd("EVALSHA").arg(script.get_hash()).arg(0).to_owned();
        assert_eq!(redis_names(&call(&known)).1.as_deref(), Some("one"));
        assert_eq!(redis_names(&call(&unknown)).1.as_deref(), Some(unknown.get_hash()));
    }

    #[test]
    fn nothing_is_recorded_without_a_collector() {
        assert!(Call::to_redis(&redis::cmd("GET")).0.is_none());
        let span = RequestSpan::begin(|| unreachable!("the request is not read"));
        assert_eq!((span.span().is_none(), span.trace_id()), (true, None));
    }
}
