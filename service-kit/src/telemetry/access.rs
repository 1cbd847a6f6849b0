//! The access log: one line per request.
//!
//! Formatted by hand: a `tracing` event would cost more than a small endpoint's request. The log
//! filter's target `access` turns it off.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TraceId;
use proto_contracts::{ErrorCode, RequestId};

use super::sink::Sink;

/// The access log's target in log filters, such as `info,access=off`.
pub const TARGET: &str = "access";

static SINK: OnceLock<Arc<Sink>> = OnceLock::new();

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The last formatted second and its text: `2026-11-25T18:24:01`.
    static SECOND: Cell<(u64, [u8; SECOND_LEN])> = const { Cell::new((u64::MAX, [0; SECOND_LEN])) };
}

const SECOND_LEN: usize = "2026-11-25T18:24:01".len();

/// The fields of a line. None may contain a character that JSON escapes, or a session id.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// A known method, or `_OTHER`.
    pub method: &'static str,
    /// The route's template, not the path.
    pub route: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// From the request header to the response header.
    pub duration: Duration,
    /// The request's id.
    pub request_id: RequestId,
    /// The instance's name.
    pub instance: &'a str,
    /// The error code of a failure.
    pub code: Option<ErrorCode>,
    /// The trace, if it is recorded.
    pub trace_id: Option<TraceId>,
}

pub(super) fn send_to(sink: Arc<Sink>) {
    // The log starts once per process.
    let _first = SINK.set(sink);
}

/// Writes the line, unless the filter rejects it.
pub fn log(line: &Line<'_>) {
    write(|buffer| line.write(buffer));
}

/// Writes a line of another form, unless the filter rejects it: `fill` appends it, with its
/// newline.
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

/// Appends the time in microseconds: `2026-11-25T18:24:01.012345Z`. The text of the second is
/// cached.
pub fn append_now(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut second, mut text) = SECOND.get();
    if second != now.as_secs() {
        second = now.as_secs();
        let timestamp =
            i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        let written = timestamp.unwrap_or_default().to_string();
        for (to, from) in text.iter_mut().zip(written.bytes()) {
            *to = from;
        }
        SECOND.set((second, text));
    }
    out.extend_from_slice(&text);
    out.push(b'.');
    // One more digit in front keeps the leading zeros.
    out.extend_from_slice(
        &itoa::Buffer::new().format(1_000_000 + now.subsec_micros()).as_bytes()[1..],
    );
    out.push(b'Z');
}

/// Appends milliseconds with three decimals: `12.034`.
pub fn append_ms(out: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_micros();
    // Wraps after 49 days, longer than any request.
    let (ms, rest) = ((micros / 1000) as u32, (micros % 1000) as u32);
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(ms).as_bytes());
    out.push(b'.');
    out.extend_from_slice(&digits.format(1_000 + rest).as_bytes()[1..]);
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { method, route, status, duration, request_id, instance, code, trace_id } = self;
        out.extend_from_slice(br#"{"timestamp":""#);
        append_now(out);
        out.extend_from_slice(br#"","level":"INFO","target":""#);
        out.extend_from_slice(TARGET.as_bytes());
        out.extend_from_slice(br#"","method":""#);
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(br#"","route":""#);
        out.extend_from_slice(route.as_bytes());
        out.extend_from_slice(br#"","status":"#);
        out.extend_from_slice(itoa::Buffer::new().format(*status).as_bytes());
        out.extend_from_slice(br#","duration_ms":"#);
        append_ms(out, *duration);
        out.extend_from_slice(br#","request_id":""#);
        out.extend_from_slice(&request_id.to_ascii());
        out.extend_from_slice(br#"","instance":""#);
        out.extend_from_slice(instance.as_bytes());
        out.push(b'"');
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
    fn milliseconds_have_three_decimals() {
        for (micros, expected) in
            [(0, "0.000"), (7, "0.007"), (12_034, "12.034"), (1_000_000, "1000.000")]
        {
            let mut text = Vec::new();
            append_ms(&mut text, Duration::from_micros(micros));
            assert_eq!(text, expected.as_bytes());
        }
    }

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
        let now = jiff::Timestamp::now().as_second();
        let logged = json["timestamp"]
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .expect("a time");
        assert!(now - logged.as_second() <= 1, "{logged}");
    }
}
