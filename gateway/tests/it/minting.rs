//! The homes of new keys.

use std::collections::BTreeMap;

use proto_contracts::Verdict;
use proto_contracts::control::InstanceState;

use crate::client::Request;
use crate::testbed::{SESSIONS, Setup, TestGateway};
use crate::upstream::{Health, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

fn new_clients(gateway: &TestGateway, count: usize) -> BTreeMap<String, usize> {
    let mut landed = BTreeMap::new();
    let mut client = gateway.connect();
    for _ in 0..count {
        let reply = client.send(&Request::post(SESSIONS));
        assert_eq!(reply.verdict(), Verdict::New, "{reply:?}");
        *landed.entry(reply.served_by().to_owned()).or_insert(0) += 1;
    }
    landed
}

#[test]
fn no_new_key_has_its_home_at_an_instance_that_is_down() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    upstreams[1].health(Health::Failing(500));
    gateway.wait_for("stateful-2", InstanceState::Unhealthy);
    assert_eq!(new_clients(&gateway, 500), BTreeMap::from([("stateful-1".to_owned(), 500)]));
}

#[test]
fn new_clients_are_spread_evenly() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).checked_once().start();
    let landed = new_clients(&gateway, 600);
    // With two candidates each, the counts stay within a few of the mean.
    assert!(NAMES.iter().all(|name| (185..=215).contains(&landed[*name])), "{landed:?}");
}

#[test]
fn new_clients_avoid_an_instance_that_reports_many_sessions() {
    let upstreams = Upstream::start_all(NAMES);
    for (upstream, sessions) in upstreams.iter().zip([5_000, 10, 10]) {
        upstream.report_sessions(sessions);
    }
    let gateway = Setup::new().stateful(&upstreams).start();
    let landed = new_clients(&gateway, 600);
    // For one new key in nine, both candidates have their home there: 67 of 600, with a standard
    // deviation of 8.
    let full = landed.get(NAMES[0]).copied().unwrap_or(0);
    assert!(full < 120, "{landed:?}");
}

#[test]
fn live_sessions_are_the_last_report_of_the_instance() {
    let upstreams = Upstream::start_all(["stateful-1"]);
    upstreams[0].report_sessions(7);
    let gateway = Setup::new().stateful(&upstreams).checked_once().start();
    new_clients(&gateway, 20);
    assert_eq!(
        gateway.stateful().instances[0].live_sessions,
        Some(7),
        "minted keys do not count as sessions"
    );
    let shown = "gateway_upstream_live_sessions{pool=\"stateful\",upstream=\"stateful-1\"} 7\n";
    assert!(gateway.metrics().contains(shown));
}
