//! Health checks: thresholds, and when the gateway ignores them.

use std::net::SocketAddr;

use proto_contracts::control::InstanceState;
use proto_contracts::{AffinityKey, PoolName, Verdict};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, session_path};
use crate::upstream::{Health, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

#[test]
fn an_instance_changes_its_state_at_the_thresholds() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).thresholds(4, 5).start();
    let key = gateway.key_at("stateful-2");
    let ranking = gateway.ranking(key);

    upstreams[1].health(Health::Failing(500));
    gateway.wait_for("stateful-2", InstanceState::Unhealthy);
    assert!(upstreams[1].health_checks() >= 4, "after {} failures", upstreams[1].health_checks());
    let instance = gateway.stateful().instances.into_iter().nth(1).expect("it is still a member");
    assert!(
        instance.last_error.as_ref().is_some_and(|error| error.contains("500")),
        "{instance:?}"
    );
    let away = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((away.verdict(), away.served_by()), (Verdict::Failover, ranking[1].as_str()));
    assert_eq!(gateway.ranking(key), ranking, "home is defined over all members, healthy or not");
    let explained = gateway.explain(key);
    assert_eq!(explained.choice.map(|name| name.to_string()), Some(ranking[1].clone()));
    assert!(explained.reason.contains("its health checks fail"), "{}", explained.reason);

    upstreams[1].health(Health::Well);
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    assert!(upstreams[1].health_checks() >= 5, "after {} passes", upstreams[1].health_checks());
    let back = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((back.verdict(), back.served_by()), (Verdict::Home, "stateful-2"));
}

#[test]
fn the_second_check_waits_for_the_interval() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).checked_once().start();
    let mut client = gateway.connect();
    for _ in 0..30 {
        assert_eq!(client.send(&Request::get(SESSIONS)).status, 200);
    }
    assert!(upstreams.iter().all(|upstream| upstream.health_checks() == 1));
}

#[test]
fn an_instance_that_is_killed_and_restarted_gets_its_keys_back() {
    let mut upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let epoch = gateway.stateful().epoch;
    let paths: Vec<_> = (0..30).map(|_| session_path(AffinityKey::random())).collect();
    let serve = || {
        let mut client = gateway.connect();
        paths
            .iter()
            .map(|path| client.send(&Request::get(path)).served_by().to_owned())
            .collect::<Vec<_>>()
    };
    let before = serve();
    upstreams[0].leave();
    gateway.wait_for("stateful-1", InstanceState::Unhealthy);
    assert!(
        serve().iter().zip(&before).all(|(now, then)| now == then || then == "stateful-1"),
        "no other key moves"
    );
    assert_eq!(gateway.stateful().epoch, epoch);
    upstreams[0].come_back();
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    assert_eq!(serve(), before);
}

#[test]
fn checks_are_ignored_when_most_of_a_pool_fails_them() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    for upstream in &upstreams[..2] {
        upstream.health(Health::Failing(503));
        gateway.wait_for(&upstream.name(), InstanceState::Unhealthy);
    }
    for _ in 0..30 {
        let key = AffinityKey::random();
        let reply = gateway.send(&Request::get(&session_path(key)));
        assert_eq!(
            (reply.verdict(), reply.served_by()),
            (Verdict::Home, gateway.ranking(key)[0].as_str())
        );
    }
    upstreams[0].health(Health::Well);
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    let key = gateway.key_at("stateful-2");
    assert_eq!(
        gateway.send(&Request::get(&session_path(key))).verdict(),
        Verdict::Failover,
        "one failure in three is not ignored"
    );
}

#[test]
fn readiness_follows_the_pools() {
    let (mut stateless, stateful) = (Upstream::start("stateless-1"), Upstream::start("stateful-1"));
    let gateway = Setup::new().stateless([&stateless]).stateful([&stateful]).start();
    let ready = || gateway.request(Request::get("/readyz"));
    assert_eq!(ready().status, 200);
    stateless.leave();
    eventually("readiness fails", || (ready().status == 503).then_some(()));
    assert_eq!(gateway.request(Request::get("/livez")).status, 200);
    assert_eq!(gateway.request(Request::get("/health")).body, b"healthy");
}

#[test]
fn an_instance_without_a_name_is_not_a_member() {
    let upstream = Upstream::start("stateful-1");
    upstream.health(Health::Nameless);
    let gateway = Setup::new().stateful([&upstream]).start_unready();
    let reported = eventually("it was checked", || {
        gateway.stateful().instances.into_iter().find(|instance| instance.last_error.is_some())
    });
    assert_eq!((reported.state, reported.name), (InstanceState::WrongInstance, None));
    assert!(reported.last_error.is_some_and(|error| error.contains("x-instance-id")));
    assert_eq!(gateway.send(&Request::get(SESSIONS)).status, 503);
    upstream.health(Health::Well);
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    assert_eq!(gateway.send(&Request::get(SESSIONS)).status, 200);
}

#[test]
fn a_renamed_instance_is_a_member_by_its_new_name() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let epoch = gateway.stateful().epoch;
    upstreams[2].rename("stateful-9");
    gateway.wait_for("stateful-9", InstanceState::Healthy);
    assert_eq!(gateway.state_of("stateful-3"), None);
    assert_ne!(gateway.stateful().epoch, epoch);
    let key = gateway.key_at("stateful-9");
    assert_eq!(gateway.send(&Request::get(&session_path(key))).served_by(), "stateful-9");
}

#[test]
fn of_two_instances_with_one_name_the_second_is_rejected() {
    let mut upstreams = Upstream::start_all(["stateful-1", "twin", "twin"]);
    let gateway = Setup::new().stateful(&upstreams).start_unready();
    let twins = |state: InstanceState| -> Vec<SocketAddr> {
        let pool = gateway.pool(PoolName::Stateful);
        pool.instances
            .iter()
            .filter(|instance| instance.state == state)
            .map(|instance| instance.addr)
            .collect()
    };
    let rejected =
        eventually("one is rejected", || twins(InstanceState::DuplicateName).first().copied());
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    gateway.wait_for("twin", InstanceState::Healthy);
    let epoch = gateway.stateful().epoch;
    for _ in 0..30 {
        assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
    }
    let (first, second) = upstreams[1..].split_at_mut(1);
    let (held, idle) = if first[0].addr() == rejected {
        (&mut second[0], &first[0])
    } else {
        (&mut first[0], &second[0])
    };
    assert!(held.count() > 0);
    assert_eq!(idle.count(), 0, "the rejected one gets no requests");

    held.leave();
    eventually("the other takes over", || {
        twins(InstanceState::Healthy).contains(&rejected).then_some(())
    });
    assert_eq!(gateway.stateful().epoch, epoch, "the same names, so no key moved");
    let key = gateway.key_at("twin");
    assert_eq!(gateway.send(&Request::get(&session_path(key))).verdict(), Verdict::Home);
    assert!(idle.count() > 0);
}
