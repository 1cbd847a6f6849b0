//! The spans of a service: one for each request, and below it one for each call to Redis and PostgreSQL.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions. No span holds a path, a key or a value: a path
//! may hold a session's id.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{PoisonError, RwLock};

use opentelemetry::trace::{TraceContextExt as _, TraceId};
use proto_contracts::{RequestId, TraceContext};
use redis::{Cmd, RedisError};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{TARGET, is_left_out, remote, tracer};

/// The span of a request that is being served; of most requests, none.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpan {
    span: Span,
    trace_id: Option<TraceId>,
}

/// What a request's span is made of.
pub(crate) struct Received<'a> {
    /// A known method, or `_OTHER`.
    pub(crate) method: &'static str,
    /// The route's template.
    pub(crate) route: &'static str,
    /// The request's name in every log.
    pub(crate) request_id: RequestId,
    /// Where in which trace it was sent.
    pub(crate) parent: Option<TraceContext>,
    /// What came with that.
    pub(crate) state: Option<&'a [u8]>,
}

impl RequestSpan {
    /// That of a request which is not recorded.
    pub(crate) fn none() -> Self {
        Self { span: Span::none(), trace_id: None }
    }

    /// Begins one, if the request is recorded.
    pub(crate) fn begin<'a>(received: impl FnOnce() -> Received<'a>) -> Self {
        if tracer().is_none() {
            return Self::none();
        }
        let Received { method, route, request_id, parent, state } = received();
        if is_left_out(parent.as_ref()) {
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
            // It fails for spans that have begun or are nobody's, and this is neither.
            let _set = span.set_parent(remote(&parent, state));
        }
        let context = span.context();
        let of_trace = context.span().span_context().clone();
        if of_trace.is_sampled() { Self { span, trace_id: Some(of_trace.trace_id()) } } else { Self::none() }
    }

    /// What the work on the request runs in.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Which trace it belongs to, when it is recorded.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// Notes the answer. `code` says why the request failed, if it did.
    pub(crate) fn answered(&self, status: u16, code: Option<impl Display>) {
        if self.trace_id.is_none() {
            return;
        }
        self.span.record("http.response.status_code", status);
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", code.map_or_else(|| status.to_string(), |code| code.to_string()));
        }
    }
}

/// A call to a database on behalf of a request that is recorded; of most calls, none. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "the call ends when it is dropped"]
pub struct Call(Span);

impl Call {
    /// A query to PostgreSQL. `summary` is such as `SELECT products`, and `sql` has parameters in the place of values.
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

    /// A command to Redis, or the call of a script.
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

    /// Several commands to Redis at once.
    pub(crate) fn to_redis_at_once(commands: usize) -> Self {
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

    /// Notes that it failed, by a word of a small set.
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
        // Without a request around it nobody would find it: it is the work of a background task, or of a request that is
        // not recorded.
        let is_recorded = tracer().is_some() && !Span::current().is_none();
        Self(if is_recorded { make() } else { Span::none() })
    }
}

/// What scripts are called, by their hashes. A hash stands for the same script everywhere, so that all pools may share this.
// A lock because scripts are made one by one; it is taken when a call is recorded, and no other time.
static SCRIPTS: RwLock<Option<HashMap<String, &'static str>>> = RwLock::new(None);

/// Lets spans call a script by its name.
pub fn name_script(script: &redis::Script, name: &'static str) {
    let mut scripts = SCRIPTS.write().unwrap_or_else(PoisonError::into_inner);
    scripts.get_or_insert_default().insert(script.get_hash().to_owned(), name);
}

/// A command's name, and the name of the script that it calls, if it calls one.
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
    fn a_script_is_named_by_its_name_where_it_has_one() {
        let (known, unknown) = (redis::Script::new("return 1"), redis::Script::new("return 2"));
        name_script(&known, "one");
        let call = |script: &redis::Script| redis::cmd("EVALSHA").arg(script.get_hash()).arg(0).to_owned();
        assert_eq!(redis_names(&call(&known)).1.as_deref(), Some("one"));
        assert_eq!(redis_names(&call(&unknown)).1.as_deref(), Some(unknown.get_hash()));
    }

    #[test]
    fn nothing_is_recorded_while_there_is_no_collector() {
        assert!(Call::to_redis(&redis::cmd("GET")).0.is_none());
        let span = RequestSpan::begin(|| unreachable!("nobody looks at the request"));
        assert_eq!((span.span().is_none(), span.trace_id()), (true, None));
    }
}
