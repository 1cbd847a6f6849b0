//! What the gateway does with a client's place in a trace while it records none itself; with a
//! collector, see the end-to-end tests. And `Server-Timing`.

use proto_contracts::headers::{SERVER_TIMING, TRACEPARENT, TRACESTATE};

use crate::client::Request;
use crate::testbed::{INFO, Setup};
use crate::upstream::Upstream;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_valid_traceparent_is_passed_on_as_it_came_and_an_invalid_one_is_not() {
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
    assert_eq!(upstream.last().header(TRACEPARENT), None, "two are as good as none");
}

#[test]
fn no_trace_begins_here_while_nobody_would_hear_of_it() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    gateway.send(&Request::get(INFO));
    assert_eq!(upstream.last().header(TRACEPARENT), None);
}

#[test]
fn an_answer_tells_how_long_the_gateway_and_the_instance_took() {
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
        gateway.send(&Request::get("/nowhere")).header(SERVER_TIMING),
        None,
        "no instance was involved"
    );
    let text = gateway.metrics();
    let count = "gateway_upstream_request_duration_seconds_count{pool=\"stateless\"} 1";
    assert!(text.contains(count), "{count} in:\n{text}");
    assert!(
        text.contains("control_http_server_active_requests"),
        "the control plane is measured apart"
    );
}

#[test]
fn nothing_of_it_is_told_where_routing_is_hidden() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).server("expose_routing = false").start();
    assert_eq!(gateway.send(&Request::get(INFO)).header(SERVER_TIMING), None);
}
