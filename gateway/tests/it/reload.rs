//! Reloads of the configuration.

use proto_contracts::ErrorCode;
use proto_contracts::control::{Reloaded, Strategy};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, TestGateway};
use crate::upstream::Upstream;

fn reload(gateway: &TestGateway) -> Reloaded {
    let reply = gateway.change(Request::new("POST", "/control/v1/reload"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn metric(gateway: &TestGateway, name: &str) -> f64 {
    let text = gateway.metrics();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn a_reload_applies_the_changed_file() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let setup = Setup::new().stateful(&upstreams[..1]);
    let gateway = setup.start();
    assert_eq!(gateway.send(&Request::post(SESSIONS)).served_by(), "stateful-1");

    let changed = Setup::new().stateful(&upstreams).strategy(Strategy::RoundRobin);
    let changed = changed.server("expose_routing = true").section("[limits]\nmax_body_bytes = 4");
    gateway.rewrite(&changed);
    let first = reload(&gateway);
    assert_eq!(first.needs_restart, [""; 0], "{first:?}");
    eventually("the second instance is healthy", || {
        (gateway.healthy(proto_contracts::PoolName::Stateful) == 2).then_some(())
    });
    assert_eq!(gateway.stateful().strategy, Strategy::RoundRobin);
    let large = Request::new("POST", SESSIONS).json("{\"a\":1}");
    assert_eq!(gateway.send(&large).code(), ErrorCode::BodyTooLarge);
    assert!(
        gateway
            .metrics()
            .contains(&format!("gateway_config_info{{fingerprint=\"{}\"}} 1", first.fingerprint))
    );
    assert_eq!(reload(&gateway), first, "nothing has changed since");

    gateway.rewrite(&changed.control("event_sample_per_s = 7"));
    let restart = reload(&gateway);
    assert_eq!(restart.needs_restart, ["[control]"]);
    assert_ne!(restart.fingerprint, first.fingerprint);
}

#[test]
fn an_invalid_file_is_rejected_and_changes_nothing() {
    let upstream = Upstream::start("stateful-1");
    let setup = Setup::new().stateful([&upstream]);
    let gateway = setup.start();
    let before = gateway.stateful();
    gateway.rewrite(
        &setup.clone().strategy(Strategy::RoundRobin).section("[limits]\nmax_body_bytes = 0"),
    );
    let reply = gateway.change(Request::new("POST", "/control/v1/reload"));
    let problem = reply.problem();
    assert_eq!((problem.status, problem.code), (422, ErrorCode::InvalidConfig));
    assert!(problem.detail.contains("[limits] max_body_bytes"), "{problem:?}");
    assert_eq!(gateway.stateful().strategy, before.strategy);
    assert!(metric(&gateway, "gateway_config_last_failure_timestamp_seconds") > 0.0);

    gateway.rewrite(&setup);
    reload(&gateway);
    assert_eq!(
        gateway.request(Request::new("POST", "/control/v1/reload")).code(),
        ErrorCode::Unauthorized
    );
}

#[test]
fn changes_by_the_control_api_survive_a_reload() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let setup = Setup::new().stateful(&upstreams[..2]);
    let gateway = setup.start();
    gateway.set_strategy(proto_contracts::PoolName::Stateful, Strategy::RoundRobin);
    assert_eq!(gateway.add(upstreams[2].addr()).status, 201);
    assert_eq!(gateway.remove("stateful-2").status, 204);
    let before = gateway.stateful();
    reload(&gateway);
    let after = gateway.stateful();
    assert_eq!((after.strategy, after.epoch), (Strategy::RoundRobin, before.epoch));
}
