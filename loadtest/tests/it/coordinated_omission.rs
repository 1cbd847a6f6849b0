//! A stall of one second, measured by both loops.
//!
//! The bounds hold by construction: 500 ms are far from both the stall of 1,000 ms and the usual
//! latency, and a slow machine can only increase the latencies that must be high.

use std::time::Duration;

use crate::compare;
use crate::dummy::{Behaviour, Dummy};

const STALL: Behaviour = Behaviour::RespondAfter(Duration::from_secs(1));

#[tokio::test]
async fn an_open_loop_shows_all_delayed_requests() {
    let server = Dummy::start(|number| if number == 50 { STALL } else { Behaviour::Respond }).await;
    let report =
        compare(&server.url(), "--kinds stateless --duration 2 --connections 1 --rate 100").await;
    let total = report.stateless.expect("ran").total;
    assert_eq!((total.requests, total.errors), (200, 0));
    // The stall begins when request 50 is sent, at 0.49 s or later. Half of the 100 that become due
    // meanwhile wait for half a second or more: a quarter of all 200.
    assert!(total.p90_ms >= 500.0, "p90 is {} ms", total.p90_ms);
    assert!(total.p999_ms >= 999.0, "p99.9 is {} ms", total.p999_ms);
}

#[tokio::test]
async fn a_closed_loop_shows_one_delayed_request() {
    let server = Dummy::start(|number| {
        if number == 5 { STALL } else { Behaviour::RespondAfter(Duration::from_millis(10)) }
    })
    .await;
    let report = compare(&server.url(), "--kinds stateless --duration 2 --connections 1").await;
    // Nearly 100 requests in the second without the stall; ten are enough for the one to be above
    // p90.
    let total = report.stateless.expect("ran").total;
    assert_eq!(total.errors, 0);
    assert!(total.max_ms >= 999.0, "the slowest took {} ms", total.max_ms);
    assert!(total.p90_ms < 500.0, "p90 is {} ms", total.p90_ms);
}
