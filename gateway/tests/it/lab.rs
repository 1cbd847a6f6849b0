//! The lab, off by default: clients may choose the strategy of each request.

use std::collections::BTreeSet;

use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, ErrorCode, PoolName, Verdict, headers};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, session_path};
use crate::upstream::Upstream;

const STRATEGY: &str = headers::ROUTING_STRATEGY;
const OPEN: &str = "[lab]\nenabled = true\n";

#[test]
fn each_request_is_routed_by_the_strategy_that_it_requests() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).section(OPEN).start();
    let mut client = gateway.connect();
    let key = AffinityKey::from_bits(7);
    let home = gateway.ranking(key)[0].clone();
    let get = |strategy| Request::get(&session_path(key)).header(STRATEGY, strategy);
    let mut turns = BTreeSet::new();
    for _ in 0..3 {
        let sticky = client.send(&get("sticky"));
        assert_eq!(
            (sticky.verdict(), sticky.served_by(), sticky.key()),
            (Verdict::Home, home.as_str(), key)
        );
        let seen =
            upstreams.iter().find(|upstream| upstream.name() == home).expect("one of them").last();
        assert_eq!(
            seen.header(headers::SESSION_AFFINITY),
            Some(headers::SESSION_AFFINITY_REQUIRED)
        );
        assert_eq!(seen.header(STRATEGY), None, "the header is not forwarded");

        let in_turn = client.send(&get("round_robin"));
        assert_eq!((in_turn.verdict(), in_turn.key()), (Verdict::Off, key));
        let seen = upstreams
            .iter()
            .find(|upstream| upstream.name() == in_turn.served_by())
            .expect("one of them")
            .last();
        assert_eq!(seen.header(headers::SESSION_AFFINITY), Some(headers::SESSION_AFFINITY_NONE));
        turns.insert(in_turn.served_by().to_owned());
    }
    assert_eq!(turns.len(), 3, "sticky requests do not advance the round robin: {turns:?}");
    assert_eq!(
        client.send(&Request::get(&session_path(key))).verdict(),
        Verdict::Home,
        "the pool's own strategy"
    );
    assert_eq!(gateway.stateful().strategy.as_str(), "sticky", "the pool's strategy is unchanged");
}

#[test]
fn a_stateless_request_can_be_sticky_in_the_lab() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).section(OPEN).start();
    let mut browser = gateway.browser();
    let first = browser.send(Request::get(INFO).header(STRATEGY, "sticky"));
    assert_eq!((first.verdict(), first.cookie_key()), (Verdict::New, Some(first.key())));
    for _ in 0..4 {
        let again = browser.send(Request::get(INFO).header(STRATEGY, "sticky"));
        assert_eq!((again.verdict(), again.served_by()), (Verdict::Home, first.served_by()));
        assert_eq!(
            browser.send(Request::get(INFO)).stamp().key,
            None,
            "other requests have no key"
        );
    }
    let text = gateway.metrics();
    assert!(
        text.contains("gateway_affinity_total{pool=\"stateless\",verdict=\"new\"} 1"),
        "{text}"
    );
}

#[test]
fn an_unknown_strategy_is_rejected_with_the_list_of_names() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).section(OPEN).start();
    let mut client = gateway.connect();
    for values in [
        &["iphash"][..],
        &[""],
        &["Sticky"],
        &["sticky", "sticky"],
        &["sticky, round_robin"],
        &["stick\u{e9}"],
    ] {
        let request = values
            .iter()
            .fold(Request::get(SESSIONS), |request, value| request.header(STRATEGY, value));
        let reply = client.send(&request);
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::InvalidStrategy), "{values:?}");
        assert!(reply.problem().detail.contains("'ip_hash' or 'least_conn'"), "{reply:?}");
    }
    assert_eq!(upstream.count(), 0, "none was forwarded");
    assert_eq!(client.send(&Request::get(SESSIONS)).status, 200, "the connection stays open");
}

#[test]
fn a_closed_lab_ignores_the_header_and_drops_it() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let mut client = gateway.connect();
    let key = AffinityKey::from_bits(7);
    let home = gateway.ranking(key)[0].clone();
    for value in ["round_robin", "nonsense"] {
        for _ in 0..2 {
            let reply = client.send(&Request::get(&session_path(key)).header(STRATEGY, value));
            assert_eq!(
                (reply.status, reply.verdict(), reply.served_by()),
                (200, Verdict::Home, home.as_str())
            );
        }
    }
    let seen =
        upstreams.iter().find(|upstream| upstream.name() == home).expect("one of them").last();
    assert_eq!(seen.header(STRATEGY), None);
    assert_eq!(gateway.pool(PoolName::Stateful).instances.len(), 2);
}

#[test]
fn the_strategies_for_lessons_need_an_open_lab() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    for strategy in ["ip_hash", "least_conn"] {
        let body = format!("{{\"strategy\":\"{strategy}\"}}");
        let request = Request::new("PUT", "/control/v1/pools/stateful/strategy").json(&body);
        let reply = gateway.change(request);
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::InvalidStrategy), "{reply:?}");
        let detail = reply.problem().detail;
        assert!(detail.contains(strategy) && detail.contains("[lab] enabled = true"), "{detail}");
        assert_eq!(gateway.stateful().strategy.as_str(), "sticky");
    }
}

#[test]
fn ip_hash_follows_the_address_and_not_the_key() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).section(OPEN).start();
    gateway.set_strategy(PoolName::Stateful, Strategy::IpHash);
    let mut client = gateway.connect();
    let mut get = |address: &str, key| {
        let request = Request::get(&session_path(AffinityKey::from_bits(key)));
        let reply = client.send(&request.header(headers::FORWARDED_FOR, address));
        assert_eq!((reply.status, reply.verdict()), (200, Verdict::Off), "{reply:?}");
        assert_eq!(reply.key(), AffinityKey::from_bits(key), "keys are kept for a switch back");
        reply.served_by().to_owned()
    };
    let served: BTreeSet<_> = (0..20).map(|key| get("198.51.100.7", key)).collect();
    assert_eq!(served.len(), 1, "one network is one client: {served:?}");
    let served: BTreeSet<_> = (0..40).map(|net| get(&format!("10.0.{net}.7"), 1)).collect();
    assert_eq!(served.len(), 3, "one key from many networks: {served:?}");
    let seen = upstreams.iter().map(Upstream::last).next().expect("one");
    assert_eq!(seen.header(headers::SESSION_AFFINITY), Some(headers::SESSION_AFFINITY_NONE));
    let text = gateway.metrics();
    for line in ["strategy=\"ip_hash\"} 1", "strategy=\"sticky\"} 0"] {
        let line = format!("gateway_pool_strategy{{pool=\"stateful\",{line}");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn least_conn_shares_requests_that_end_at_once_evenly() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).section(OPEN).start();
    let mut client = gateway.connect();
    let request = Request::get(&session_path(AffinityKey::from_bits(7)));
    for _ in 0..30 {
        let reply = client.send(&request.clone().header(STRATEGY, "least_conn"));
        assert_eq!((reply.status, reply.verdict()), (200, Verdict::Off), "{reply:?}");
    }
    let counts: Vec<_> = upstreams.iter().map(Upstream::count).collect();
    assert!(counts.iter().all(|count| (8..=12).contains(count)), "{counts:?}");
}
