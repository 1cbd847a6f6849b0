//! The lab, off by default: clients may choose the strategy of each request.

use std::collections::BTreeSet;

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
        &["ip_hash"][..],
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
        assert!(reply.problem().detail.contains("'sticky' or 'round_robin'"), "{reply:?}");
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
