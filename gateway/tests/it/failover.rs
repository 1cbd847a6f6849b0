//! What a client notices of instances that fail: as little as is safe.

use proto_contracts::{AffinityKey, ErrorCode, Verdict, headers};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

/// Three instances whose health is checked once, at the start: what happens later the gateway
/// learns from requests. Most of those fail at first here, so the budget of retries must not count.
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
    NAMES.iter().position(|known| *known == name).expect("one of ours")
}

#[test]
fn a_refused_connection_leads_to_the_next_in_rank_and_back_home() {
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
                "the key stays what it is"
            );
        }
        upstreams[by_rank[down]].leave();
    }
    upstreams[by_rank[0]].come_back();
    let home = gateway.send(&requests[0]);
    assert_eq!((home.verdict(), home.served_by()), (Verdict::Home, ranking[0].as_str()));
}

#[test]
fn a_newcomer_whose_home_refuses_is_served_elsewhere_and_keeps_its_key() {
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
fn round_robin_passes_over_what_refuses() {
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
fn what_is_safe_to_repeat_is_repeated_elsewhere_when_no_answer_comes() {
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
            "tried once, or twice after a kept connection broke"
        );
        home.act(Act::ok());
    }
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
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
            "whether it was done nobody knows: {reply:?}"
        );
        assert_eq!(reply.header("retry-after"), None, "to repeat it blindly is no advice");
        assert_eq!((reply.served_by(), reply.verdict()), (home.name().as_str(), Verdict::Home));
        assert_eq!(
            upstreams.iter().map(Upstream::count).sum::<usize>(),
            before + 1,
            "one instance saw it, once"
        );
        home.act(Act::ok());
    }
}

#[test]
fn a_safe_request_is_given_up_when_every_instance_breaks_it() {
    let (upstreams, gateway) = three();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Close));
    let reply = gateway.send(&Request::get(&session_path(AffinityKey::random())));
    assert_eq!((reply.status, reply.code()), (502, ErrorCode::UpstreamFailed));
    let attempts: usize = upstreams.iter().map(Upstream::count).sum();
    assert!((3..=4).contains(&attempts), "each once, and one more than once at most: {attempts}");
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
    assert_eq!(attempts, 3, "each once");
}

#[test]
fn with_every_instance_gone_nothing_was_sent_and_the_client_may_come_back() {
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
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(client.is_closed_by_peer(), "as announced");
    }
    upstreams.iter_mut().for_each(Upstream::come_back);
    assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
}

#[test]
fn a_pool_without_members_says_so() {
    let gateway = Setup::new().start();
    for path in [INFO, SESSIONS] {
        let reply = gateway.send(&Request::get(path));
        assert_eq!((reply.status, reply.code()), (503, ErrorCode::NoInstanceAvailable), "{path}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(gateway.send(&Request::get("/health")).status, 200, "the gateway itself is well");
}

#[test]
fn a_pooled_connection_that_broke_says_nothing_of_an_instance_that_came_back() {
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
