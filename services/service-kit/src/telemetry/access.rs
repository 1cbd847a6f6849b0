//! One line per request.
//!
//! Written by hand: through a `tracing` event it would cost more than the request of a small endpoint. Its switch is
//! the log filter's target `access`.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::TraceId;
use proto_contracts::{ErrorCode, RequestId};

use super::sink::Sink;

/// The target by which a log filter names the access log, such as in `info,access=off`.
pub const TARGET: &str = "access";

static SINK: OnceLock<Arc<Sink>> = OnceLock::new();

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a line tells. No field can hold a character that JSON escapes, nor a session's id.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// A known method, or `_OTHER`.
    pub method: &'static str,
    /// The route's template, never the path.
    pub route: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// From the request's header to the answer's.
    pub duration: Duration,
    /// The request's id.
    pub request_id: RequestId,
    /// Who answered.
    pub instance: &'a str,
    /// Why it failed, if it did.
    pub code: Option<ErrorCode>,
    /// Which trace it belongs to, when it is recorded.
    pub trace_id: Option<TraceId>,
}

pub(super) fn send_to(sink: Arc<Sink>) {
    // The log starts once in a process, so a second sink cannot come.
    let _first = SINK.set(sink);
}

/// Writes the line, if there is a log and its filter lets it pass.
pub fn log(line: &Line<'_>) {
    write(|buffer| line.write(buffer));
}

/// Writes a line of another form: `fill` appends it, with its newline, if there is a log and its filter lets it pass.
pub fn write(fill: impl FnOnce(&mut Vec<u8>)) {
    let Some(sink) = SINK.get() else { return };
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    LINE.with_borrow_mut(|buffer| {
        buffer.clear();
        fill(buffer);
        sink.push(buffer);
    });
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { method, route, status, duration, request_id, instance, code, trace_id } = self;
        let timestamp = jiff::Timestamp::now();
        let micros = duration.as_micros();
        let (ms, thousandths) = (micros / 1000, micros % 1000);
        let _infallible = write!(
            out,
            r#"{{"timestamp":"{timestamp:.6}","level":"INFO","target":"{TARGET}","method":"{method}","route":"{route}","status":{status},"duration_ms":{ms}.{thousandths:03},"request_id":"{request_id}","instance":"{instance}""#,
        );
        if let Some(code) = code {
            let _infallible = write!(out, r#","code":"{code}""#);
        }
        if let Some(trace_id) = trace_id {
            let _infallible = write!(out, r#","trace_id":"{trace_id}""#);
        }
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json() {
        let line = Line {
            method: "GET",
            route: "/api/v1/stateful/sessions/{session_id}",
            status: 404,
            duration: Duration::from_micros(12_034),
            request_id: RequestId::generate(),
            instance: "stateful-1",
            code: Some(ErrorCode::SessionNotFound),
            trace_id: Some(TraceId::from(7)),
        };
        let mut text = Vec::new();
        line.write(&mut text);
        let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(json["duration_ms"], 12.034);
        assert_eq!(json["code"], "session_not_found");
        assert_eq!(json["trace_id"], "00000000000000000000000000000007");
        assert!(json["timestamp"].as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()));
    }
}
