//! Each request is counted once, and each failure by its kind.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use loadtest::report::KindReport;
use proto_contracts::ErrorCode;

use crate::compare;
use crate::dummy::{Behaviour, Dummy};

fn errors(kind: &KindReport) -> Vec<(&str, u64)> {
    kind.total.errors_by_kind.iter().map(|(kind, &count)| (kind.as_str(), count)).collect()
}

#[tokio::test]
async fn a_closed_loop_counts_what_the_server_received() {
    let server = Dummy::start(|_| Behaviour::Respond).await;
    let report =
        compare(&server.url(), "--duration 1 --connections 4 --reads 3 --messages 2").await;
    let stateless = report.stateless.expect("ran");
    let stateful = report.stateful.expect("ran");
    let seen = |method, template| {
        server.seen(|seen| seen.by_endpoint.get(&(method, template)).copied().unwrap_or(0))
    };
    assert_eq!(report_of(&stateless, "info"), seen(Method::GET, "/api/v1/stateless/info"));
    assert_eq!(report_of(&stateful, "create"), seen(Method::POST, "/api/v1/stateful/sessions"));
    assert_eq!(
        report_of(&stateful, "message"),
        seen(Method::POST, "/api/v1/stateful/sessions/{session_id}/messages")
    );
    assert_eq!(
        report_of(&stateful, "read"),
        seen(Method::GET, "/api/v1/stateful/sessions/{session_id}")
    );
    assert_eq!(
        stateless.total.requests + stateful.total.requests,
        server.seen(|seen| seen.requests)
    );
    assert_eq!((stateless.total.errors, stateful.total.errors), (0, 0));
    assert_eq!(server.seen(|seen| seen.connections), 2 * 4, "each worker keeps its connection");
    let comparison = report.comparison.expect("both ran");
    assert_eq!(comparison.ratio, Some(comparison.stateless_rps / comparison.stateful_rps));
}

fn report_of(kind: &KindReport, operation: &str) -> u64 {
    let count = kind.operations[operation].requests;
    assert!(count > 0, "{operation} was called");
    count
}

#[tokio::test]
async fn an_open_loop_sends_as_many_as_are_due() {
    let server = Dummy::start(|_| Behaviour::Respond).await;
    let options = "--duration 1 --connections 3 --rate 300 --rate-stateful 45 --order together \
                   --affinity cookie";
    let report = compare(&server.url(), options).await;
    let (stateless, stateful) = (report.stateless.expect("ran"), report.stateful.expect("ran"));
    assert_eq!((stateless.total.requests, stateful.total.requests), (300, 45));
    assert_eq!((stateless.total.errors, stateful.total.errors), (0, 0));
    assert_eq!(server.seen(|seen| seen.requests), 345);
    assert_eq!(stateful.operations["message"].requests, server.seen(|seen| seen.with_cookie));
    assert!(stateless.total.rps <= 300.0, "{} a second", stateless.total.rps);
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    let server = Dummy::start(|number| match number {
        1 => Behaviour::RespondProblem(ErrorCode::NoInstanceAvailable),
        2 | 3 => Behaviour::RespondStatus(StatusCode::BAD_GATEWAY),
        4 => Behaviour::HangUp,
        5 => Behaviour::Ignore,
        _ => Behaviour::Respond,
    })
    .await;
    let options = "--kinds stateless --duration 1 --connections 2 --rate 100 --timeout 1";
    let report = compare(&server.url(), options).await;
    assert_eq!(report.errors(), 5);
    let stateless = report.stateless.expect("ran");
    assert_eq!(
        errors(&stateless),
        [("broken", 1), ("no_instance_available", 1), ("status_502", 2), ("timeout", 1)]
    );
    assert_eq!(stateless.total.requests, 100);
    assert!(stateless.total.max_ms >= 1000.0, "the latencies include the request that timed out");
    assert!(report.comparison.is_none());
}

#[tokio::test]
async fn a_lost_message_is_detected_and_a_new_session_follows() {
    let server =
        Dummy::start(|number| if number == 6 { Behaviour::Forget } else { Behaviour::Respond })
            .await;
    let options = "--kinds stateful --duration 1 --connections 1 --rate 50 --messages 8 --reads 0";
    let report = compare(&server.url(), options).await;
    let stateful = report.stateful.expect("ran");
    assert_eq!(errors(&stateful), [("wrong_response", 1)]);
    assert_eq!(stateful.operations["message"].errors, 1);
    // Requests 1, 7, 16, 25, 34 and 43 create a session.
    assert_eq!(stateful.operations["create"].requests, 6);
}

#[tokio::test]
async fn a_connection_closed_by_the_server_is_no_error() {
    let server = Dummy::start(|number| {
        if number % 10 == 0 { Behaviour::RespondAndClose } else { Behaviour::Respond }
    })
    .await;
    let report =
        compare(&server.url(), "--kinds stateless --duration 1 --connections 1 --rate 100").await;
    let stateless = report.stateless.expect("ran");
    assert_eq!((stateless.total.requests, stateless.total.errors), (100, 0));
    // The first one, and one after each closed connection but the last.
    assert_eq!(server.seen(|seen| seen.connections), 10);
}

#[tokio::test]
async fn outstanding_requests_are_awaited_at_the_end() {
    let slow = Duration::from_millis(1500);
    let server = Dummy::start(|_| Behaviour::RespondAfter(Duration::from_millis(1500))).await;
    for options in
        ["--duration 1 --connections 2", "--duration 1 --connections 2 --rate 2 --timeout 5"]
    {
        let report = compare(&server.url(), &format!("--kinds stateless {options}")).await;
        let stateless = report.stateless.expect("ran");
        assert_eq!((stateless.total.requests, stateless.total.errors), (2, 0), "{options}");
        assert!(stateless.elapsed_s >= slow.as_secs_f64(), "{options}");
    }
}

#[tokio::test]
async fn the_grace_period_is_bounded_and_the_rest_counts_as_unfinished() {
    let server =
        Dummy::start(|number| if number > 10 { Behaviour::Ignore } else { Behaviour::Respond })
            .await;
    let begun = Instant::now();
    let report = compare(
        &server.url(),
        "--kinds stateless --duration 1 --connections 1 --rate 100 --timeout 1",
    )
    .await;
    let took = begun.elapsed();
    let stateless = report.stateless.expect("ran");
    assert_eq!((stateless.total.requests, stateless.total.errors), (100, 90));
    let errors = errors(&stateless);
    assert_eq!(errors.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["timeout", "unfinished"]);
    // One second of load, one of grace; the rest is room for a slow machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    // The last one was due at 0.99 s and abandoned at 2 s.
    assert!(stateless.total.p50_ms >= 1000.0, "{}", stateless.total.p50_ms);
}
