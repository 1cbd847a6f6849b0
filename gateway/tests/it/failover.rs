//! Failover: clients see failing instances only if a retry would not be safe.

use proto_contracts::{AffinityKey, ErrorCode, Verdict, headers};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

/// Three instances whose health is checked only at the start; later the gateway detects failures by
/// requests. Most of them fail at first here, so the retry budget must not limit them.
fn three() -> ([Upstream; 3], TestGateway) {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new()
        .stateful(&upstreams)
        .checked_once()
        .retries("attempt_timeout_ms = 0\nmin_per_second = 1000")
        .start();
    (upstreams, gateway)
}

fn place(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).expect("a known name")
}

#[test]
fn a_refused_connection_fails_over_in_rank_order_and_back() {
    let (mut upstreams, gateway) = three();
    let key = AffinityKey::random();
    let ranking = gateway.ranking(key);
    let by_rank: Vec<_> = ranking.iter().map(|name| place(name)).collect();
    let mut client = gateway.connect();
    let requests = [
        Request::get(&session_path(key)),
        Request::post(SESSIONS).key(key),
        Request::new("DELETE", &session_path(key)),
    ];
    for down in 0..3 {
        for request in &requests {
            let reply = client.send(request);
            assert_eq!(
                (reply.status, reply.served_by()),
                (200, ranking[down].as_str()),
                "{down} are down: {request:?}"
            );
            assert_eq!(reply.verdict(), if down == 0 { Verdict::Home } else { Verdict::Failover });
            assert_eq!(
                (reply.key(), reply.header("set-cookie")),
                (key, None),
                "the key does not change"
            );
        }
        upstreams[by_rank[down]].leave();
    }
    upstreams[by_rank[0]].come_back();
    let home = gateway.send(&requests[0]);
    assert_eq!((home.verdict(), home.served_by()), (Verdict::Home, ranking[0].as_str()));
}

#[test]
fn a_new_client_whose_home_is_down_fails_over_and_keeps_its_key() {
    let (mut upstreams, gateway) = three();
    for upstream in &mut upstreams[..2] {
        upstream.leave();
    }
    let failed_over = (0..30).map(|_| gateway.send(&Request::post(SESSIONS))).filter(|reply| {
        assert_eq!((reply.status, reply.served_by()), (200, NAMES[2]));
        assert_eq!(reply.cookie_key(), Some(reply.key()));
        reply.verdict() == Verdict::Failover
    });
    assert!(failed_over.count() > 0, "two thirds of all homes are down");
}

#[test]
fn round_robin_skips_instances_that_refuse_connections() {
    let mut upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).checked_once().start();
    upstreams[0].leave();
    let mut client = gateway.connect();
    for request in
        [Request::get(INFO), Request::post(INFO), Request::get(INFO), Request::post(INFO)]
    {
        let reply = client.send(&request);
        assert_eq!(
            (reply.status, reply.served_by(), reply.verdict()),
            (200, "stateless-2", Verdict::Off)
        );
    }
}

#[test]
fn safe_and_keyed_requests_are_retried_elsewhere_without_a_response() {
    let (upstreams, gateway) = three();
    // A deleted session stays deleted, and a write with an idempotency key is done once.
    let keyed = Some("5f0c1a52-8f3e-4c56-9d9f-0a1b2c3d4e5f");
    for (method, idempotency_key) in [
        ("GET", None),
        ("HEAD", None),
        ("OPTIONS", None),
        ("DELETE", None),
        ("POST", keyed),
        ("PATCH", keyed),
    ] {
        let key = AffinityKey::random();
        let ranking = gateway.ranking(key);
        let home = &upstreams[place(&ranking[0])];
        home.act(Act::Close);
        let before = home.count();
        let mut request = Request::new(method, &session_path(key));
        if let Some(idempotency_key) = idempotency_key {
            request = request.json("{}").header(headers::IDEMPOTENCY_KEY, idempotency_key);
        }
        let reply = gateway.send(&request);
        assert_eq!((reply.status, reply.served_by()), (200, ranking[1].as_str()), "{method}");
        assert_eq!(reply.verdict(), Verdict::Failover);
        assert!(
            (1..=2).contains(&(home.count() - before)),
            "once, or twice if a pooled connection was closed"
        );
        home.act(Act::ok());
    }
}

#[test]
fn a_write_of_unknown_outcome_is_not_retried() {
    let (upstreams, gateway) = three();
    for method in ["POST", "PUT", "PATCH"] {
        let key = AffinityKey::random();
        let home = &upstreams[place(&gateway.ranking(key)[0])];
        home.act(Act::Close);
        let before: usize = upstreams.iter().map(Upstream::count).sum();
        let reply = gateway.send(&Request::new(method, SESSIONS).key(key).json("{}"));
        assert_eq!((reply.status, reply.code()), (502, ErrorCode::UpstreamFailed), "{method}");
        assert!(
            reply.problem().detail.contains("may or may not"),
            "the outcome is unknown: {reply:?}"
        );
        assert_eq!(reply.header("retry-after"), None, "a blind retry is not safe");
        assert_eq!((reply.served_by(), reply.verdict()), (home.name().as_str(), Verdict::Home));
        assert_eq!(
            upstreams.iter().map(Upstream::count).sum::<usize>(),
            before + 1,
            "one instance received it, once"
        );
        home.act(Act::ok());
    }
}

#[test]
fn a_safe_request_fails_when_every_instance_closes_the_connection() {
    let (upstreams, gateway) = three();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Close));
    let reply = gateway.send(&Request::get(&session_path(AffinityKey::random())));
    assert_eq!((reply.status, reply.code()), (502, ErrorCode::UpstreamFailed));
    let attempts: usize = upstreams.iter().map(Upstream::count).sum();
    assert!((3..=4).contains(&attempts), "each instance once, one perhaps twice: {attempts}");
}

#[test]
fn a_safe_request_ends_with_a_timeout_when_no_instance_responds() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new()
        .stateful(&upstreams)
        .checked_once()
        .retries("attempt_timeout_ms = 100\nmin_per_second = 1000")
        .section("[timeouts]\nupstream_response_ms = 400\n")
        .start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let reply = gateway.send(&Request::get(&session_path(AffinityKey::random())));
    assert_eq!((reply.status, reply.code()), (504, ErrorCode::UpstreamTimeout));
    let attempts: usize = upstreams.iter().map(Upstream::count).sum();
    assert_eq!(attempts, 3, "each instance once");
}

#[test]
fn with_every_instance_down_the_client_may_retry_after_a_second() {
    let (mut upstreams, gateway) = three();
    upstreams.iter_mut().for_each(Upstream::leave);
    for request in [Request::get(SESSIONS), Request::post(SESSIONS)] {
        let mut client = gateway.connect();
        let reply = client.send(&request);
        assert_eq!(
            (reply.status, reply.code()),
            (503, ErrorCode::NoInstanceAvailable),
            "{request:?}"
        );
        assert_eq!(reply.header("retry-after"), Some("1"));
        match reply.header("connection") {
            Some(close) => assert!(close == "close" && client.is_closed_by_peer(), "as announced"),
            None => assert_eq!(client.send(&request).status, 503, "it is kept"),
        }
    }
    upstreams.iter_mut().for_each(Upstream::come_back);
    assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
}

#[test]
fn requests_to_an_empty_pool_get_no_instance_available() {
    let gateway = Setup::new().start();
    for path in [INFO, SESSIONS] {
        let reply = gateway.send(&Request::get(path));
        assert_eq!((reply.status, reply.code()), (503, ErrorCode::NoInstanceAvailable), "{path}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(gateway.send(&Request::get("/health")).status, 200, "the gateway itself is healthy");
}

#[test]
fn a_closed_pooled_connection_does_not_count_against_the_instance() {
    let (mut upstreams, gateway) = three();
    let key = AffinityKey::random();
    let home = place(&gateway.ranking(key)[0]);
    for _ in 0..20 {
        let before = gateway.send(&Request::get(&session_path(key)));
        assert_eq!(before.verdict(), Verdict::Home);
        upstreams[home].leave();
        upstreams[home].come_back();
        let after = gateway.send(&Request::get(&session_path(key)));
        assert_eq!((after.status, after.verdict()), (200, Verdict::Home));
    }
}
