//! Trace headers while tracing is off (the end-to-end tests cover a collector), and
//! `Server-Timing`.

use proto_contracts::headers::{SERVER_TIMING, TRACEPARENT, TRACESTATE};

use crate::client::Request;
use crate::testbed::{INFO, Setup};
use crate::upstream::Upstream;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_valid_traceparent_is_forwarded_and_an_invalid_one_is_dropped() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let later = format!("cc{}-what-is-to-come", &VALID[2..]);
    for valid in [VALID, &later, &VALID.replace("-01", "-00")] {
        gateway.send(&Request::get(INFO).header(TRACEPARENT, valid).header(TRACESTATE, "vendor=1"));
        let seen = upstream.last();
        assert_eq!(
            (seen.header(TRACEPARENT), seen.header(TRACESTATE)),
            (Some(valid), Some("vendor=1"))
        );
    }
    for invalid in ["", "nonsense", &VALID[..54], &VALID.to_uppercase(), &format!("{VALID}-more")] {
        gateway
            .send(&Request::get(INFO).header(TRACEPARENT, invalid).header(TRACESTATE, "vendor=1"));
        let seen = upstream.last();
        assert_eq!((seen.header(TRACEPARENT), seen.header(TRACESTATE)), (None, None), "{invalid}");
    }
    gateway.send(&Request::get(INFO).header(TRACEPARENT, VALID).header(TRACEPARENT, VALID));
    assert_eq!(upstream.last().header(TRACEPARENT), None, "two count as invalid");
}

#[test]
fn no_trace_is_started_without_a_collector() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    gateway.send(&Request::get(INFO));
    assert_eq!(upstream.last().header(TRACEPARENT), None);
}

#[test]
fn server_timing_has_the_times_of_gateway_and_instance() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let reply = gateway.send(&Request::get(INFO));
    let reported = reply.header(SERVER_TIMING).expect("a timing");
    let milliseconds = |name: &str| -> f64 {
        let entry =
            reported.split(", ").find_map(|entry| entry.strip_prefix(name)?.strip_prefix(";dur="));
        entry.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} in {reported}"))
    };
    assert!(milliseconds("gateway") >= 0.0 && milliseconds("upstream") > 0.0, "{reported}");
    assert_eq!(
        gateway.send(&Request::get("/no-such-path")).header(SERVER_TIMING),
        None,
        "no instance was involved"
    );
    let text = gateway.metrics();
    let count = "gateway_upstream_request_duration_seconds_count{pool=\"stateless\"} 1";
    assert!(text.contains(count), "{count} in:\n{text}");
    assert!(
        text.contains("control_http_server_active_requests"),
        "the control plane has its own metrics"
    );
}

#[test]
fn server_timing_is_hidden_with_the_routing_headers() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).server("expose_routing = false").start();
    assert_eq!(gateway.send(&Request::get(INFO)).header(SERVER_TIMING), None);
}
