//! Outlier ejection: an instance that fails requests gets none for a while.

use std::time::{Duration, Instant};

use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{AffinityKey, PoolName, Verdict};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

/// A server error without `Retry-After`.
fn error() -> Act {
    Act::Respond(500, Vec::new(), "")
}

/// How often instances of a pool were ejected for this reason.
fn ejections(gateway: &TestGateway, pool: PoolName, reason: &str) -> u64 {
    let name = format!(r#"gateway_upstream_ejections_total{{pool="{pool}",reason="{reason}"}} "#);
    let metrics = gateway.metrics();
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .expect("it is there")
        .parse()
        .expect("a number")
}

/// Three stateful instances; an ejection lasts for `base_ms` the first time.
fn three(base_ms: u64) -> ([Upstream; 3], TestGateway) {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let section =
        format!("[outlier_ejection]\nbase_ejection_ms = {base_ms}\nmax_ejection_ms = 3600000");
    let gateway = Setup::new().stateful(&upstreams).section(&section).start();
    (upstreams, gateway)
}

#[test]
fn an_instance_that_returns_errors_is_ejected_and_gets_its_keys_back() {
    let (upstreams, gateway) = three(1_500);
    let key = gateway.key_at("stateful-1");
    let (read, epoch) = (Request::get(&session_path(key)), gateway.stateful().epoch);
    upstreams[0].act(error());
    let mut client = gateway.connect();
    for nth in 1..=5 {
        let reply = client.send(&read);
        assert_eq!(
            (reply.status, reply.verdict()),
            (500, Verdict::Home),
            "request {nth} gets the instance's response"
        );
    }
    gateway.wait_for("stateful-1", InstanceState::Ejected);
    let since = Instant::now();
    let instance = gateway.stateful().instances.swap_remove(0);
    assert!(instance.ejected_for_s.is_some_and(|seconds| seconds <= 2), "{instance:?}");
    assert!(
        instance.last_error.as_deref().is_some_and(|why| why.contains("5 consecutive")),
        "{instance:?}"
    );
    assert_eq!(ejections(&gateway, PoolName::Stateful, "errors"), 1);
    assert_eq!(
        gateway.explain(key).ranking[0].state,
        InstanceState::Ejected,
        "it is still the first in rank"
    );
    assert_eq!(gateway.stateful().epoch, epoch, "it is still a member");

    let failed_over = client.send(&read);
    assert_eq!((failed_over.status, failed_over.verdict()), (200, Verdict::Failover));
    upstreams[0].act(Act::ok());
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    // The ejection began shortly before the test saw it.
    assert!(since.elapsed() >= Duration::from_millis(1_000), "back after {:?}", since.elapsed());
    let home = client.send(&read);
    assert_eq!((home.status, home.verdict()), (200, Verdict::Home));
    assert_eq!(gateway.stateful().instances[0].ejected_for_s, None);
}

#[test]
fn an_ejected_instance_stays_out_while_its_health_checks_fail() {
    let (upstreams, gateway) = three(300);
    upstreams[0].act(error());
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    (0..5).for_each(|_| assert_eq!(gateway.send(&read).status, 500));
    upstreams[0].health(crate::upstream::Health::Failing(500));
    gateway.wait_for("stateful-1", InstanceState::Unhealthy);
    let checks = upstreams[0].health_checks();
    eventually("the ejection time is over", || {
        (upstreams[0].health_checks() > checks + 5).then_some(())
    });
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Unhealthy));
    upstreams[0].act(Act::ok());
    upstreams[0].health(crate::upstream::Health::Well);
    gateway.wait_for("stateful-1", InstanceState::Healthy);
}

#[test]
fn a_success_resets_the_count_of_failures() {
    let (upstreams, gateway) = three(3_600_000);
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    let mut client = gateway.connect();
    for _ in 0..4 {
        upstreams[0].act(error());
        (0..4).for_each(|_| assert_eq!(client.send(&read).status, 500));
        upstreams[0].act(Act::Respond(404, Vec::new(), ""));
        assert_eq!(client.send(&read).status, 404, "a client error is not a failure");
    }
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
}

#[test]
fn errors_of_a_shared_dependency_eject_no_instance() {
    let (upstreams, gateway) = three(3_600_000);
    upstreams
        .iter()
        .for_each(|upstream| upstream.act(Act::Respond(503, vec![("retry-after", "1")], "")));
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    let mut client = gateway.connect();
    (0..20).for_each(|_| assert_eq!(client.send(&read).status, 503));
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
}

/// A shared dependency is down, so no instance is ready. Only the requests of one instance time out
/// on it: the others respond from memory, or have no requests.
#[test]
fn timeouts_on_a_shared_dependency_eject_no_instance() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let section = "[outlier_ejection]\nbase_ejection_ms = 3600000\nmax_ejection_ms = 3600000";
    let retries = "attempt_timeout_ms = 300\nmin_per_second = 1000";
    let gateway = Setup::new().stateful(&upstreams).section(section).retries(retries).start();
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    upstreams[0].act(Act::Hang);
    upstreams.iter().for_each(|upstream| upstream.ready(false));
    // A second readiness check shows that the first one has completed. The checks reset the count
    // of failures, so the number of requests varies.
    let checked = |upstream: &Upstream| upstream.readiness_checks() >= 2;
    eventually("the others are checked twice", || {
        for mut client in gateway.start_many(6, &read) {
            let reply = client.reply_to("GET");
            assert_eq!((reply.status, reply.verdict()), (200, Verdict::Failover), "it is retried");
        }
        upstreams[1..].iter().all(checked).then_some(())
    });
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
    assert_eq!(ejections(&gateway, PoolName::Stateful, "timeouts"), 0);

    // The dependency is back, and only this instance still times out.
    upstreams.iter().for_each(|upstream| upstream.ready(true));
    for mut client in gateway.start_many(12, &read) {
        client.reply_to("GET");
    }
    gateway.wait_for("stateful-1", InstanceState::Ejected);
    assert_eq!(ejections(&gateway, PoolName::Stateful, "timeouts"), 1);
    upstreams[0].act(Act::ok());
}

#[test]
fn timeouts_of_a_whole_pool_eject_no_instance() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2", "stateless-3"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .retries("attempt_timeout_ms = 300\nmin_per_second = 1000")
        .start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let clients = gateway.start_many(30, &Request::get(INFO));
    // Each request timed out at each instance, far more often than five times in a row.
    eventually("all are sent to each instance", || {
        (upstreams.iter().map(Upstream::count).sum::<usize>() == 90).then_some(())
    });
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    for mut client in clients {
        assert_eq!(client.reply_to("GET").status, 200);
    }
    assert_eq!(ejections(&gateway, PoolName::Stateless, "timeouts"), 0);
    let states =
        gateway.pool(PoolName::Stateless).instances.into_iter().map(|instance| instance.state);
    assert!(states.eq([InstanceState::Healthy; 3]));
}

#[test]
fn at_most_half_of_a_pool_is_ejected() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3", "stateful-4"]);
    let section = "[outlier_ejection]\nbase_ejection_ms = 3600000\nmax_ejection_ms = 3600000";
    let gateway =
        Setup::new().stateful(&upstreams).strategy(Strategy::RoundRobin).section(section).start();
    upstreams.iter().for_each(|upstream| upstream.act(error()));
    let mut client = gateway.connect();
    for _ in 0..200 {
        assert_eq!(client.send(&Request::get(SESSIONS)).status, 500);
    }
    eventually("two are ejected", || {
        (ejections(&gateway, PoolName::Stateful, "errors") == 2).then_some(())
    });
    for _ in 0..100 {
        client.send(&Request::get(SESSIONS));
    }
    let states = gateway.stateful().instances.into_iter().map(|instance| instance.state);
    assert_eq!(states.filter(|state| *state == InstanceState::Ejected).count(), 2);
    let left: Vec<_> = upstreams.iter().map(Upstream::count).collect();
    (0..10).for_each(|_| assert_eq!(client.send(&Request::get(SESSIONS)).status, 500));
    let attempts =
        upstreams.iter().zip(left).filter(|(upstream, before)| upstream.count() > *before).count();
    assert_eq!(attempts, 2, "only the other two get requests");
}

#[test]
fn the_last_instance_is_never_ejected() {
    let upstream = Upstream::start("stateless-1");
    let section = "[outlier_ejection]\nmax_percent = 100";
    let gateway = Setup::new().stateless([&upstream]).section(section).start();
    upstream.act(error());
    let mut client = gateway.connect();
    (0..50).for_each(|_| assert_eq!(client.send(&Request::get(INFO)).status, 500));
    assert_eq!(gateway.pool(PoolName::Stateless).instances[0].state, InstanceState::Healthy);
    upstream.act(Act::ok());
    assert_eq!(client.send(&Request::get(INFO)).status, 200);
}

#[test]
fn an_instance_that_refuses_connections_is_unhealthy_at_once() {
    let upstreams = &mut Upstream::start_all(["stateful-1", "stateful-2"]);
    // With these thresholds health checks alone would take a minute to detect it.
    let gateway = Setup::new().stateful(&*upstreams).thresholds(600, 1).start();
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    upstreams[0].leave();
    for _ in 0..5 {
        assert_eq!(gateway.send(&read).verdict(), Verdict::Failover, "a retry succeeds");
    }
    gateway.wait_for("stateful-1", InstanceState::Unhealthy);
    assert_eq!(ejections(&gateway, PoolName::Stateful, "connections"), 1);
    let why = gateway.stateful().instances.swap_remove(0).last_error;
    assert!(why.is_some(), "the reason is shown");
    let failures = gateway.stateful().instances[0].connect_failures;
    (0..5).for_each(|_| assert_eq!(gateway.send(&read).status, 200));
    assert_eq!(
        gateway.stateful().instances[0].connect_failures,
        failures,
        "it gets no more requests"
    );
    upstreams[0].come_back();
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    assert_eq!(gateway.send(&read).verdict(), Verdict::Home);
}

#[test]
fn ejection_can_be_turned_off() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new()
        .stateful(&upstreams)
        .section("[outlier_ejection]\nconsecutive_failures = 0")
        .start();
    upstreams[0].act(error());
    let read = Request::get(&session_path(gateway.key_at("stateful-1")));
    let mut client = gateway.connect();
    (0..20).for_each(|_| assert_eq!(client.send(&read).status, 500));
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
}

#[test]
fn a_client_that_provokes_errors_ejects_at_most_half_of_a_pool() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let section = "[outlier_ejection]\nbase_ejection_ms = 3600000\nmax_ejection_ms = 3600000";
    let gateway = Setup::new().stateful(&upstreams).section(section).start();
    upstreams.iter().for_each(|upstream| upstream.act(error()));
    for _ in 0..50 {
        // A new key each time, so that both instances are used.
        gateway.send(&Request::get(&session_path(AffinityKey::random())));
    }
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    for _ in 0..20 {
        assert_eq!(gateway.send(&Request::get(&session_path(AffinityKey::random()))).status, 200);
    }
}
