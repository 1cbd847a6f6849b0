//! Drains: no new keys, existing ones until the deadline, and the same at every gateway.

use proto_contracts::control::{Instance, InstanceState, Strategy};
use proto_contracts::{ErrorCode, PoolName, Verdict};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::Upstream;

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

/// Longer than the test takes.
const LONG: &str = r#"{"deadline_s":3000}"#;

fn instance(gateway: &TestGateway, name: &str) -> Instance {
    let named =
        |instance: &Instance| instance.name.as_ref().is_some_and(|known| known.as_str() == name);
    gateway.stateful().instances.into_iter().find(named).expect("it is listed")
}

#[test]
fn a_drained_instance_keeps_its_keys_and_gets_no_new_ones() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let (key, epoch) = (gateway.key_at("stateful-2"), gateway.stateful().epoch);
    let reported: Instance = gateway.drain_request("stateful-2", "drain", LONG).json();
    assert_eq!(reported.state, InstanceState::Draining, "the response shows it");
    let drain = reported.drain.expect("its drain");
    assert!(
        drain.announced && !drain.serves_as_the_last && drain.seconds_left > 2_000,
        "{drain:?}"
    );

    let before = upstreams[1].count();
    for _ in 0..60 {
        assert_eq!(gateway.send(&Request::post(SESSIONS)).verdict(), Verdict::New);
    }
    assert_eq!(upstreams[1].count(), before, "no new key has its home there");
    let old = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((old.verdict(), old.served_by()), (Verdict::Home, "stateful-2"));
    assert_eq!(gateway.stateful().epoch, epoch, "it is still a member");
    assert!(
        gateway
            .metrics()
            .contains(r#"gateway_upstream_draining{pool="stateful",upstream="stateful-2"} 1"#)
    );

    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    let before = upstreams[1].count();
    for _ in 0..10 {
        assert_eq!(gateway.send(&Request::get(&session_path(key))).status, 200);
    }
    assert_eq!(upstreams[1].count(), before, "round robin gives it nothing");
}

#[test]
fn the_deadline_moves_the_keys_and_undrain_brings_them_back() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let (key, epoch) = (gateway.key_at("stateful-2"), gateway.stateful().epoch);
    let next = gateway.ranking(key)[1].clone();
    assert_eq!(gateway.drain_request("stateful-2", "drain", r#"{"deadline_s":1}"#).status, 200);
    gateway.wait_for("stateful-2", InstanceState::Drained);
    assert_ne!(gateway.stateful().epoch, epoch);
    assert_eq!(instance(&gateway, "stateful-2").key_share_percent, 0.0);
    let moved = gateway.send(&Request::get(&session_path(key)));
    assert_eq!(
        (moved.verdict(), moved.served_by()),
        (Verdict::Home, next.as_str()),
        "it has a new home"
    );

    let reported: Instance = gateway.drain_request("stateful-2", "undrain", "").json();
    assert_eq!((reported.state, reported.drain), (InstanceState::Healthy, None));
    assert_eq!(gateway.stateful().epoch, epoch);
    let back = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((back.verdict(), back.served_by()), (Verdict::Home, "stateful-2"));
}

#[test]
fn every_gateway_sees_the_drain_even_if_it_starts_later() {
    let upstreams = Upstream::start_all(NAMES);
    let one = Setup::new().stateful(&upstreams).start();
    let other = Setup::new().stateful(upstreams.iter().rev()).start();
    assert_eq!(one.drain_request("stateful-3", "drain", LONG).status, 200);
    other.wait_for("stateful-3", InstanceState::Draining);
    assert_eq!(
        other.drain_request("stateful-3", "drain", r#"{"deadline_s":0}"#).status,
        200,
        "each gateway may change it"
    );
    one.wait_for("stateful-3", InstanceState::Drained);
    let late = Setup::new().stateful(&upstreams).start();
    late.wait_for("stateful-3", InstanceState::Drained);
    let epochs = [&one, &other, &late].map(|gateway| gateway.stateful().epoch);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn an_instance_that_announces_its_shutdown_gets_no_more_requests() {
    let mut upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let (key, epoch) = (gateway.key_at("stateful-1"), gateway.stateful().epoch);
    upstreams[0].announce_leaving();
    gateway.wait_for("stateful-1", InstanceState::Drained);
    let before = upstreams[0].count();
    let moved = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((moved.status, moved.verdict()), (200, Verdict::Home));
    assert_eq!(upstreams[0].count(), before);
    let without = gateway.stateful().epoch;
    upstreams[0].leave();
    eventually("its absence is noticed", || instance(&gateway, "stateful-1").last_error);
    assert_eq!(
        instance(&gateway, "stateful-1").state,
        InstanceState::Drained,
        "stopped, and still drained"
    );
    assert_eq!(gateway.stateful().epoch, without);
    assert_ne!(without, epoch);
}

#[test]
fn draining_the_last_instance_requires_force_and_reports_that_it_serves() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let rejected = gateway.drain_request("stateful-1", "drain", LONG);
    assert_eq!((rejected.status, rejected.code()), (409, ErrorCode::LastInstance));
    let detail = rejected.problem().detail;
    assert!(detail.contains("its requests would fail") && detail.contains("force"), "{detail}");
    assert_eq!(instance(&gateway, "stateful-1").drain, None, "nothing was changed");

    let reported: Instance =
        gateway.drain_request("stateful-1", "drain", r#"{"deadline_s":3000,"force":true}"#).json();
    let drain = reported.drain.expect("its drain");
    assert!(
        drain.serves_as_the_last && drain.seconds_left > 2_000,
        "before its deadline: {drain:?}"
    );
    assert!(drain.note.is_some_and(|note| note.contains("No other instance is available")));
    let reported: Instance =
        gateway.drain_request("stateful-1", "drain", r#"{"deadline_s":0}"#).json();
    assert!(
        reported.drain.is_some_and(|drain| drain.serves_as_the_last && drain.seconds_left == 0)
    );
    assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
    let second = Upstream::start("stateful-2");
    assert_eq!(gateway.add(second.addr()).status, 201);
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    gateway.wait_for("stateful-1", InstanceState::Drained);
    assert_eq!(gateway.send(&Request::post(SESSIONS)).served_by(), "stateful-2");
}

#[test]
fn draining_the_last_instance_ends_no_other_drain_at_any_gateway() {
    let upstreams = Upstream::start_all(NAMES);
    let one = Setup::new().stateful(&upstreams).start();
    let other = Setup::new().stateful(&upstreams).start();
    let now = r#"{"deadline_s":0,"force":true}"#;
    for name in NAMES {
        assert_eq!(one.drain_request(name, "drain", now).status, 200);
    }
    let late = Setup::new().stateful(&upstreams).start_unready();
    for gateway in [&one, &other, &late] {
        gateway.wait_for("stateful-1", InstanceState::Drained);
        gateway.wait_for("stateful-2", InstanceState::Drained);
        gateway.wait_for("stateful-3", InstanceState::Draining);
        assert!(
            instance(gateway, "stateful-3").drain.is_some_and(|drain| drain.serves_as_the_last)
        );
        assert_eq!(gateway.send(&Request::post(SESSIONS)).served_by(), "stateful-3");
    }
    let epochs = [&one, &other, &late].map(|gateway| gateway.stateful().epoch);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    for _ in 0..3 {
        for name in NAMES {
            assert_eq!(
                other.drain_request(name, "drain", LONG).status,
                200,
                "a repetition changes nothing"
            );
        }
        assert_eq!(other.stateful().epoch, epochs[0]);
    }
}

#[test]
fn a_drain_survives_restarts_until_the_instance_is_undrained() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut upstreams = Upstream::start_all(NAMES);
    let setup = Setup::new().stateful(&upstreams).state_file(folder.path().join("state.json"));
    let gateway = setup.start();
    let other = Setup::new().stateful(&upstreams).start();
    assert_eq!(gateway.drain_request("stateful-2", "drain", r#"{"deadline_s":0}"#).status, 200);
    gateway.wait_for("stateful-2", InstanceState::Drained);
    let epoch = gateway.stateful().epoch;
    assert_eq!(
        gateway.drain_request("stateful-2", "drain", LONG).json::<Instance>().state,
        InstanceState::Drained,
        "draining it again changes nothing"
    );

    upstreams[1].leave();
    eventually("its absence is noticed", || instance(&gateway, "stateful-2").last_error);
    drop(gateway);
    let gateway = setup.start_unready();
    assert_eq!(gateway.state_of("stateful-2"), Some(InstanceState::Drained), "from the state file");
    // It knows the members when all have been checked.
    for name in ["stateful-1", "stateful-3"] {
        gateway.wait_for(name, InstanceState::Healthy);
    }
    upstreams[1].forget_all();
    upstreams[1].come_back();
    for gateway in [&gateway, &other] {
        eventually("the restarted instance announces its drain", || {
            instance(gateway, "stateful-2").drain.filter(|drain| drain.announced)
        });
        assert_eq!(gateway.state_of("stateful-2"), Some(InstanceState::Drained));
        assert_eq!(gateway.stateful().epoch, epoch);
    }
    assert_eq!(upstreams[1].count(), 0, "it got no request meanwhile");
    assert_eq!(
        other.drain_request("stateful-2", "undrain", "").json::<Instance>().state,
        InstanceState::Healthy
    );
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    assert_ne!(gateway.stateful().epoch, epoch);
}

#[test]
fn an_instance_without_the_drain_endpoint_is_drained_by_one_gateway() {
    let upstreams = Upstream::start_all(NAMES);
    for upstream in &upstreams {
        upstream.disable_drain();
        upstream.report_sessions(7);
    }
    let one = Setup::new().stateful(&upstreams).start();
    let other = Setup::new().stateful(&upstreams).start();
    let reported: Instance = one.drain_request("stateful-2", "drain", LONG).json();
    let drain = reported.drain.expect("its drain");
    assert!(!drain.announced && drain.note.is_some_and(|note| note.contains("version is too old")));
    assert_eq!(other.state_of("stateful-2"), Some(InstanceState::Healthy));
    assert_eq!(one.state_of("stateful-2"), Some(InstanceState::Draining), "it has live sessions");
    upstreams[1].report_sessions(0);
    one.wait_for("stateful-2", InstanceState::Drained);
    let reported: Instance = one.drain_request("stateful-2", "undrain", "").json();
    assert_eq!((reported.state, reported.drain), (InstanceState::Healthy, None));
    assert_eq!(
        one.drain_request("stateful-2", "undrain", "").status,
        200,
        "undraining it again changes nothing"
    );
}

#[test]
fn an_invalid_drain_request_is_rejected_and_changes_nothing() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    for (name, body, code) in [
        ("stateful-9", LONG, ErrorCode::InstanceNotFound),
        ("stateful-1", r#"{"deadline_s":3601}"#, ErrorCode::InvalidBody),
        ("stateful-1", r#"{"deadline_s":-1}"#, ErrorCode::InvalidBody),
        ("stateful-1", r#"{"deadline_s":"soon"}"#, ErrorCode::InvalidBody),
        ("stateful-1", r#"{"deadline":1}"#, ErrorCode::InvalidBody),
    ] {
        let reply = gateway.drain_request(name, "drain", body);
        assert_eq!((reply.status, reply.code()), (code.status(), code), "{name} {body}");
    }
    let path = "/control/v1/pools/stateful/instances/stateful-1/drain";
    assert_eq!(
        gateway.request(Request::new("POST", path).json(LONG)).status,
        401,
        "a change needs the token"
    );
    let other_pool = "/control/v1/pools/stateles/instances/stateful-1/drain";
    assert_eq!(
        gateway.change(Request::new("POST", other_pool).json(LONG)).code(),
        ErrorCode::PoolNotFound
    );
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
}

#[test]
fn clients_cannot_reach_the_drain_endpoint() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    for path in ["/internal/drain", "//internal/drain", "/api/../internal/drain"] {
        let reply = gateway.send(&Request::new("PUT", path).json(LONG));
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.status);
    }
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
    assert_eq!(upstreams[0].count() + upstreams[1].count(), 0);
}
