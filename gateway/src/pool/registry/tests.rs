//! The membership: addresses, names and states.

mod drains;

use std::time::{SystemTime, UNIX_EPOCH};

use proto_contracts::AffinityKey;
use proto_contracts::control::InstanceState;
use proto_contracts::health::DrainDecision;

use super::*;
use crate::pool::{PendingDrain, ProbeError, Report};
use crate::routing::sticky;

const THRESHOLDS: Thresholds = Thresholds { fails: 3, passes: 2 };

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn registry(ports: &[u16]) -> Registry {
    restarted(ports, PoolState::default())
}

fn restarted(ports: &[u16], state: PoolState) -> Registry {
    Registry::new(&config(Strategy::Sticky, ports), THRESHOLDS, state)
}

fn config(strategy: Strategy, ports: &[u16]) -> config::PoolConfig {
    config::PoolConfig {
        strategy,
        lab: config::Lab::Closed,
        instances: ports.iter().map(|&port| addr(port)).collect(),
        discover: None,
        weights: BTreeMap::new(),
        slow_start: Duration::ZERO,
        load_bound: None,
        protocol: config::Protocol::Http1,
        tls: None,
    }
}

fn pass(registry: &mut Registry, port: u16, name: &str) -> bool {
    report(registry, port, name, None)
}

/// Records a passed check that reports this time until the instance's keys move.
fn report(registry: &mut Registry, port: u16, name: &str, seconds_left: Option<u64>) -> bool {
    let report = Report { live_sessions: Some(3), seconds_left, ..Report::of(name) };
    !registry.record_probe(PoolName::Stateful, addr(port), Ok(report)).is_empty()
}

fn fail(registry: &mut Registry, port: u16) -> bool {
    !registry.record_probe(PoolName::Stateful, addr(port), Err(ProbeError::TimedOut)).is_empty()
}

fn states(registry: &Registry) -> Vec<(Option<&str>, InstanceState)> {
    registry
        .hosts()
        .iter()
        .map(|host| (host.name().map(InstanceName::as_str), host.state()))
        .collect()
}

#[test]
fn an_address_becomes_a_member_with_its_name() {
    let mut registry = registry(&[1]);
    assert_eq!(states(&registry), [(None, InstanceState::Pending)]);
    assert!(!fail(&mut registry, 1), "still pending");
    assert!(!pass(&mut registry, 1, "s1"), "one pass is not enough after a failure");
    assert!(pass(&mut registry, 1, "s1"), "the second pass");
    assert_eq!(states(&registry), [(Some("s1"), InstanceState::Healthy)]);
    assert!(!pass(&mut registry, 1, "s1"), "nothing new");
    assert_eq!(registry.hosts()[0].live_sessions(), Some(3));
}

#[test]
fn a_second_instance_of_one_name_is_rejected_while_the_first_is_healthy() {
    let mut registry = registry(&[1, 2]);
    pass(&mut registry, 1, "s1");
    pass(&mut registry, 2, "s1");
    assert_eq!(
        states(&registry),
        [(Some("s1"), InstanceState::Healthy), (None, InstanceState::DuplicateName)]
    );
    pass(&mut registry, 2, "s2");
    assert_eq!(
        states(&registry)[1],
        (Some("s2"), InstanceState::Healthy),
        "renamed, it is welcome"
    );
}

#[test]
fn an_instance_that_returns_at_another_address_keeps_name_and_keys() {
    let mut registry = registry(&[1, 2]);
    pass(&mut registry, 1, "s1");
    pass(&mut registry, 2, "s2");
    let epoch = registry.snapshot(Seed::from_text("test")).epoch;
    for _ in 0..3 {
        fail(&mut registry, 2);
    }
    registry.add(addr(3), None, None).expect("a new address");
    pass(&mut registry, 3, "s2");
    assert_eq!(
        states(&registry)[1],
        (Some("s2"), InstanceState::Unhealthy),
        "one pass is not enough"
    );
    pass(&mut registry, 3, "s2");
    assert_eq!(states(&registry)[1], (None, InstanceState::Pending));
    assert_eq!(states(&registry)[2], (Some("s2"), InstanceState::Healthy));
    assert_eq!(registry.snapshot(Seed::from_text("test")).epoch, epoch, "the same names");
}

#[test]
fn after_one_failed_check_a_healthy_instance_may_take_the_name() {
    let mut registry = registry(&[1, 2]);
    pass(&mut registry, 1, "s1");
    fail(&mut registry, 1);
    pass(&mut registry, 2, "s1");
    assert_eq!(
        states(&registry),
        [(None, InstanceState::Pending), (Some("s1"), InstanceState::Healthy)]
    );
}

#[test]
fn strategies_of_the_lab_need_an_open_lab_and_end_with_it() {
    let open = config::PoolConfig { lab: config::Lab::Open, ..config(Strategy::Sticky, &[1]) };
    let closed = config(Strategy::Sticky, &[1]);
    for strategy in Strategy::ALL.into_iter().filter(|strategy| strategy.is_of_the_lab()) {
        let mut registry = Registry::new(&closed, THRESHOLDS, PoolState::default());
        let refused = registry.set_strategy(strategy).expect_err("the lab is closed");
        assert!(refused.to_string().contains("[lab] enabled = true"), "{refused}");
        assert_eq!(registry.state().strategy, None);

        registry.reconfigure(&open, THRESHOLDS);
        registry.set_strategy(strategy).expect("the lab is open");
        let saved = registry.state();
        assert_eq!(saved.strategy, Some(strategy));
        let restarted = |config| Registry::new(config, THRESHOLDS, saved.clone()).state().strategy;
        assert_eq!((restarted(&open), restarted(&closed)), (Some(strategy), None));
        registry.reconfigure(&closed, THRESHOLDS);
        assert_eq!(registry.state().strategy, None, "it ends with the lab");
    }
}

#[test]
fn changes_by_the_control_api_survive_a_restart() {
    let mut before = registry(&[1, 2]);
    pass(&mut before, 1, "s1");
    before.add(addr(3), None, None).expect("a new address");
    pass(&mut before, 3, "s3");
    pass(&mut before, 3, "s3");
    before.remove(PoolName::Stateful, "127.0.0.1:2", true).expect("by address");
    before.set_strategy(Strategy::RoundRobin).expect("not of the lab");

    let after = restarted(&[1, 2], before.state());
    assert_eq!(after.state(), before.state());
    assert_eq!(
        states(&after),
        [(Some("s1"), InstanceState::Unhealthy), (Some("s3"), InstanceState::Unhealthy)]
    );
}

#[test]
fn a_new_instance_becomes_a_member_at_the_threshold_of_passed_checks() {
    let mut registry = registry(&[1]);
    pass(&mut registry, 1, "s1");
    let epoch = registry.snapshot(Seed::from_text("test")).epoch;
    registry.add(addr(2), None, None).expect("a new address");
    for step in ["+", "-", "+"] {
        let changed =
            if step == "+" { pass(&mut registry, 2, "s2") } else { fail(&mut registry, 2) };
        assert!(!changed, "{step}");
        assert_eq!(registry.snapshot(Seed::from_text("test")).epoch, epoch);
    }
    assert!(pass(&mut registry, 2, "s2"), "the second in a row");
    assert_eq!(states(&registry)[1], (Some("s2"), InstanceState::Healthy));
}

#[test]
fn a_drain_ends_the_membership_and_a_return_begins_it_again() {
    let mut registry = registry(&[1, 2]);
    pass(&mut registry, 1, "s1");
    pass(&mut registry, 2, "s2");
    let epoch = |registry: &Registry| registry.snapshot(Seed::from_text("test")).epoch;
    let both = epoch(&registry);
    assert!(report(&mut registry, 2, "s2", Some(30)));
    assert_eq!((states(&registry)[1].1, epoch(&registry)), (InstanceState::Draining, both));
    assert!(report(&mut registry, 2, "s2", Some(0)));
    assert_eq!(states(&registry)[1].1, InstanceState::Drained);
    assert_ne!(epoch(&registry), both);
    assert_eq!(registry.state().names.len(), 1, "after a restart it is no member either");
    for _ in 0..3 {
        assert!(!fail(&mut registry, 2), "it may go now");
    }
    assert!(!pass(&mut registry, 2, "s2"), "back, and drained until two checks have passed");
    assert!(pass(&mut registry, 2, "s2"));
    assert_eq!((states(&registry)[1].1, epoch(&registry)), (InstanceState::Healthy, both));
}

#[test]
fn a_reload_keeps_changes_by_the_control_api() {
    let addrs = |registry: &Registry| {
        registry.hosts().iter().map(|host| host.addr().port()).collect::<Vec<_>>()
    };
    let mut registry = registry(&[1, 2]);
    pass(&mut registry, 1, "s1");
    registry.add(addr(3), None, None).expect("a new address");
    registry.remove(PoolName::Stateful, "127.0.0.1:2", true).expect("by address");
    registry.reconfigure(&config(Strategy::RoundRobin, &[1, 2, 4]), THRESHOLDS);
    assert_eq!(addrs(&registry), [1, 3, 4], "added stays added, removed stays removed");
    assert_eq!(
        states(&registry)[0],
        (Some("s1"), InstanceState::Healthy),
        "no instance is replaced"
    );
    assert_eq!(registry.state().strategy, None, "it follows the file");

    registry.set_strategy(Strategy::Sticky).expect("not of the lab");
    registry.reconfigure(&config(Strategy::RoundRobin, &[2, 4]), THRESHOLDS);
    assert_eq!(addrs(&registry), [3, 4], "the file has no 1 any more");
    assert_eq!(registry.state().strategy, Some(Strategy::Sticky), "it was switched");
}

#[test]
fn adding_twice_and_removing_an_unknown_instance_are_errors() {
    let mut registry = registry(&[1]);
    assert_eq!(registry.add(addr(1), None, None), Err(AddError::KnownAddress(addr(1))));
    assert_eq!(
        registry.remove(PoolName::Stateful, "nobody", true).err(),
        Some(RemoveError::Unknown)
    );
    assert_eq!(
        registry.remove(PoolName::Stateful, "127.0.0.1:9", true).err(),
        Some(RemoveError::Unknown)
    );
}

#[test]
fn a_check_result_for_a_removed_address_is_ignored() {
    let mut registry = registry(&[1]);
    registry.remove(PoolName::Stateful, "127.0.0.1:1", true).expect("there");
    assert!(!pass(&mut registry, 1, "s1"));
}

#[test]
fn homes_do_not_depend_on_the_order_of_discovery() {
    const KEYS: u32 = 100_000;
    let names: Vec<_> = (1..=7).map(|number| format!("stateful-{number}")).collect();
    let mut first = registry(&[1, 2, 3]);
    let mut second = registry(&[70]);
    for port in 4..=7 {
        first.add(addr(port), None, None).expect("new");
    }
    for port in (10..=60).step_by(10).rev() {
        second.add(addr(port), None, None).expect("new");
    }
    for _ in 0..2 {
        for (place, name) in names.iter().enumerate() {
            let place = place as u16 + 1;
            pass(&mut first, place, name);
        }
        for (place, name) in names.iter().enumerate().rev() {
            let place = place as u16 + 1;
            pass(&mut second, place * 10, name);
        }
    }
    let seed = Seed::from_text("tandem");
    let [first, second] = [first, second].map(|registry| registry.snapshot(seed));
    assert_eq!(first.epoch, second.epoch);
    let home = |snapshot: &Snapshot, key| {
        let (_, member) = sticky::ranking(snapshot, key).into_iter().next().expect("a home");
        member.instance.name().clone()
    };
    let mut homes = std::collections::BTreeMap::new();
    for place in 0..KEYS {
        let key = AffinityKey::from_bits(place.wrapping_mul(0x85eb_ca6b));
        let home_by_first = home(&first, key);
        assert_eq!(home_by_first, home(&second, key));
        *homes.entry(home_by_first).or_insert(0_u32) += 1;
    }
    assert_eq!(homes.len(), 7, "{homes:?}");
    eprintln!("two registries of one epoch agree on the homes of {KEYS} keys: {homes:?}");
}
