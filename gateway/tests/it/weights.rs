//! Weights: shares of keys and of round-robin requests, changed at runtime.

use std::collections::BTreeMap;

use proto_contracts::control::{Explanation, Instance, InstanceAdded, InstanceState};
use proto_contracts::{AffinityKey, ErrorCode, PoolName};

use crate::client::{Reply, Request};
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::Upstream;

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

fn set_weight(gateway: &TestGateway, pool: &str, name: &str, weight: &str) -> Reply {
    let path = format!("/control/v1/pools/{pool}/instances/{name}");
    gateway.change(Request::new("PATCH", &path).json(&format!("{{\"weight\":{weight}}}")))
}

fn instance(gateway: &TestGateway, name: &str) -> Instance {
    let named =
        |instance: &Instance| instance.name.as_ref().is_some_and(|known| known.as_str() == name);
    gateway.stateful().instances.into_iter().find(named).expect("it is listed")
}

fn shares(gateway: &TestGateway) -> Vec<f64> {
    gateway.stateful().instances.iter().map(|instance| instance.key_share_percent).collect()
}

#[test]
fn a_weight_is_changed_live_and_all_gateways_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstreams = Upstream::start_all(NAMES);
    let setup = Setup::new().stateful(&upstreams).state_file(folder.path().join("state.json"));
    let one = setup.start();
    let other = Setup::new().stateful(&upstreams).start();
    let (before, keys) =
        (one.stateful().epoch, (0..300).map(|_| AffinityKey::random()).collect::<Vec<_>>());
    let homes = |gateway: &TestGateway| {
        keys.iter().map(|&key| gateway.ranking(key)[0].clone()).collect::<Vec<_>>()
    };
    let old = homes(&one);
    let path = "/control/v1/pools/stateful/explain?key=00000001&weight=stateful-2:2";
    let predicted = one.request(Request::get(path)).json::<Explanation>().change.expect("a change");
    assert!((predicted.moved_percent - 100.0 / 6.0).abs() < 1.0, "{predicted:?}");
    assert!(
        predicted
            .flows
            .iter()
            .all(|flow| flow.to.as_ref().is_some_and(|to| to.as_str() == "stateful-2"))
    );

    let changed: Instance = set_weight(&one, "stateful", "stateful-2", "2").json();
    assert_eq!(changed.weight.get(), 2);
    assert!((changed.key_share_percent - 50.0).abs() < 1.0, "{changed:?}");
    let epoch = one.stateful().epoch;
    assert_eq!(
        (epoch, epoch != before),
        (predicted.epoch, true),
        "explain predicted the epoch, which depends on weights"
    );
    eventually("the other gateway agrees", || (other.stateful().epoch == epoch).then_some(()));
    assert_eq!(shares(&one), shares(&other));
    let new = homes(&one);
    let moved: Vec<_> = old.iter().zip(&new).filter(|(old, new)| old != new).collect();
    assert!(!moved.is_empty() && moved.iter().all(|(_, to)| *to == "stateful-2"), "only to it");
    for (&key, home) in keys.iter().zip(&new).take(20) {
        assert_eq!(one.send(&Request::get(&session_path(key))).served_by(), home);
        assert_eq!(other.send(&Request::get(&session_path(key))).served_by(), home);
    }
    let ranked = &one.explain(keys[0]).ranking;
    let weighted: Vec<_> = ranked.iter().filter_map(|ranked| ranked.weighted_score).collect();
    assert!(weighted.len() == 3 && weighted.is_sorted_by(|a, b| a >= b), "{ranked:?}");

    // The weight survives a restart of the instance and of the gateway.
    upstreams[1].forget_all();
    drop(one);
    let one = setup.start();
    eventually("the weight is sent again", || (upstreams[1].weight() == Some(2)).then_some(()));
    for gateway in [&one, &other] {
        eventually("the weight is as decided", || {
            (gateway.stateful().epoch == epoch).then_some(())
        });
    }
    assert_eq!(set_weight(&other, "stateful", "stateful-2", "1").status, 200);
    eventually("all homes are back", || (one.stateful().epoch == before).then_some(()));
    assert_eq!(homes(&one), old);
    assert!(one.explain(keys[0]).ranking.iter().all(|ranked| ranked.weighted_score.is_none()));
}

#[test]
fn an_invalid_weight_is_rejected_and_changes_nothing() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let epoch = gateway.stateful().epoch;
    for (name, weight, code) in [
        ("stateful-2", "0", ErrorCode::InvalidBody),
        ("stateful-2", "257", ErrorCode::InvalidBody),
        ("stateful-2", "1.5", ErrorCode::InvalidBody),
        ("stateful-9", "2", ErrorCode::InstanceNotFound),
    ] {
        let reply = set_weight(&gateway, "stateful", name, weight);
        assert_eq!((reply.status, reply.code()), (code.status(), code), "{name} {weight}");
    }
    assert!(
        set_weight(&gateway, "stateful", "stateful-2", "0").problem().detail.contains("drain it"),
        "the detail names the cure"
    );
    upstreams[1].disable_drain();
    let rejected = set_weight(&gateway, "stateful", "stateful-2", "2");
    assert_eq!(
        (rejected.status, rejected.code()),
        (502, ErrorCode::UpstreamFailed),
        "gateways would disagree"
    );
    assert!(rejected.problem().detail.contains("INSTANCE_WEIGHT"), "{rejected:?}");
    assert_eq!(
        (gateway.stateful().epoch, instance(&gateway, "stateful-2").weight.get()),
        (epoch, 1)
    );
}

#[test]
fn an_operators_weight_overrides_that_of_the_configuration() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let [first, second] = [0, 1].map(|place: usize| upstreams[place].addr());
    let listed = format!("[\"{first}\", {{ addr = \"{second}\", weight = 3 }}]");
    let gateway = Setup::new().stateless_listed(&listed).start_unready();
    eventually("both are healthy", || (gateway.healthy(PoolName::Stateless) == 2).then_some(()));
    let counts = |requests: usize| {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(gateway.send(&Request::get(INFO)).served_by().to_owned()).or_insert(0) +=
                1;
        }
        counts.into_values().collect::<Vec<i32>>()
    };
    assert_eq!(counts(40), [10, 30], "in proportion to the weights");
    assert_eq!(set_weight(&gateway, "stateless", "stateless-2", "1").status, 200);
    assert_eq!(counts(40), [20, 20]);
    let third = Upstream::start("stateless-3");
    let body = format!("{{\"addr\":\"{}\",\"weight\":2}}", third.addr());
    let added =
        gateway.change(Request::new("POST", "/control/v1/pools/stateless/instances").json(&body));
    assert_eq!((added.status, added.json::<InstanceAdded>().instance.weight.get()), (201, 2));
    eventually("it is healthy", || (gateway.healthy(PoolName::Stateless) == 3).then_some(()));
    assert_eq!(counts(40), [10, 10, 20]);
}

#[test]
fn a_new_instance_has_its_keys_at_once_and_slowly_gets_new_ones() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).stateful_setting("slow_start_s = 3600").start();
    assert!(
        gateway.stateful().instances.iter().all(|instance| instance.slow_start_percent.is_none()),
        "no slow start for the configured instances"
    );
    let added = Upstream::start("stateful-3");
    added.report_sessions(0);
    assert_eq!(gateway.add(added.addr()).status, 201);
    gateway.wait_for("stateful-3", InstanceState::Healthy);
    let shown = instance(&gateway, "stateful-3");
    assert!(shown.slow_start_percent.is_some_and(|percent| percent < 20), "{shown:?}");
    assert!(
        (shown.key_share_percent - 100.0 / 3.0).abs() < 1.0,
        "homes don't depend on time: {shown:?}"
    );
    for _ in 0..200 {
        assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
    }
    // It accepts a tenth of its third of the keys and is preferred among two candidates: about 19
    // of 200. Without slow start, an instance without sessions would get more than half.
    assert!(added.count() < 45, "{} of 200", added.count());
}
