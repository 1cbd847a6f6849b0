//! Drains, their order, and the last instance that serves.

use super::*;

/// Good responses of an instance of this version, until it is a member: with what it announces of a
/// drain.
fn announce(
    registry: &mut Registry,
    port: u16,
    name: &str,
    seconds_left: Option<u64>,
    decision: (u64, Option<u64>),
) {
    let (decided_ms, until_ms) = decision;
    for _ in 0..THRESHOLDS.passes {
        let decision = Some(DrainDecision { decided_ms, until_ms });
        let report = Report { seconds_left, decision, ..Report::of(name) };
        registry.record_probe(PoolName::Stateful, addr(port), Ok(report));
    }
}

/// A registry of instances of this version that serve, at ports 1, 2, ….
fn serving(count: u16) -> Registry {
    let ports: Vec<_> = (1..=count).collect();
    let mut registry = registry(&ports);
    for port in ports {
        announce(&mut registry, port, &format!("s{port}"), None, (0, None));
    }
    registry
}

fn drain(
    registry: &mut Registry,
    port: u16,
    deadline_s: Option<u64>,
    force: bool,
) -> Result<(), LastInstance> {
    registry.decide_drain(
        PoolName::Stateful,
        addr(port),
        deadline_s.map(Duration::from_secs),
        force,
    )
}

fn state(registry: &Registry, port: u16) -> InstanceState {
    states(registry)[usize::from(port) - 1].1
}

fn serving_as_the_last(registry: &Registry) -> Vec<u16> {
    let is_last =
        |host: &&Host| host.drain(Instant::now()).is_some_and(|drain| drain.serves_as_the_last);
    registry.hosts().iter().filter(is_last).map(|host| host.addr().port()).collect()
}

#[test]
fn repeated_drains_do_not_end_a_drain() {
    let mut registry = serving(3);
    drain(&mut registry, 2, Some(0), false).expect("two others serve");
    let decided = registry
        .pending_drain_at(addr(2), Instant::now())
        .expect("the instance does not announce it yet");
    for deadline_s in [Some(3_000), None, Some(0)] {
        drain(&mut registry, 2, deadline_s, false).expect("nothing changes");
        assert_eq!(state(&registry, 2), InstanceState::Drained);
        assert_eq!(
            registry.pending_drain_at(addr(2), Instant::now()),
            Some(decided),
            "the decision stands"
        );
    }
    drain(&mut registry, 1, Some(600), false).expect("3 serves");
    let left = |registry: &Registry| {
        registry.hosts()[0].drain(Instant::now()).map(|drain| drain.seconds_left)
    };
    drain(&mut registry, 1, None, false).expect("nothing changes");
    assert!(left(&registry) > Some(300));
    drain(&mut registry, 1, Some(3_000), false).expect("another deadline");
    assert!(left(&registry) > Some(2_000));
    registry.decide_undrain(addr(2)).expect("there is a drain");
    assert_eq!(state(&registry, 2), InstanceState::Healthy);
    assert!(registry.decide_undrain(addr(2)).is_none(), "nothing is left to end");
}

#[test]
fn the_last_available_instance_serves_and_no_other_drain_ends() {
    let mut registry = serving(3);
    drain(&mut registry, 2, Some(0), false).expect("two others serve");
    drain(&mut registry, 3, Some(0), false).expect("one other serves");
    let refused =
        drain(&mut registry, 1, Some(600), false).expect_err("no other serves").to_string();
    for expected in ["draining s1", "stateful", "503", "s2 is drained, s3 is drained", "force"] {
        assert!(refused.contains(expected), "{expected} in {refused}");
    }
    assert_eq!(
        (state(&registry, 1), serving_as_the_last(&registry)),
        (InstanceState::Healthy, vec![])
    );
    drain(&mut registry, 1, Some(600), true).expect("forced");
    assert_eq!(serving_as_the_last(&registry), [1], "long before its deadline");
    let until = unix_ms() + 1;
    announce(&mut registry, 1, "s1", Some(0), (u64::MAX, Some(until)));
    for port in 2..=3 {
        assert_eq!(state(&registry, port), InstanceState::Drained, "nothing revives {port}");
    }
    assert_eq!(
        (state(&registry, 1), serving_as_the_last(&registry)),
        (InstanceState::Draining, vec![1])
    );
    registry.decide_undrain(addr(3)).expect("there is a drain");
    assert_eq!(
        (state(&registry, 1), state(&registry, 3)),
        (InstanceState::Drained, InstanceState::Healthy)
    );
}

#[test]
fn all_gateways_choose_the_same_last_instance() {
    let now = unix_ms();
    let drains = [(1, now - 3_000), (2, now - 1_000), (3, now - 2_000)];
    let mut epochs = Vec::new();
    for rotation in 0..3 {
        let mut registry = registry(&[1, 2, 3]);
        let mut drains = drains;
        drains.rotate_left(rotation);
        for (port, until) in drains {
            announce(&mut registry, port, &format!("s{port}"), Some(0), (7, Some(until)));
        }
        assert_eq!(serving_as_the_last(&registry), [2], "its drain ended last");
        epochs.push(registry.snapshot(Seed::from_text("test")).epoch);
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn a_drain_survives_a_restart_of_the_instance_and_of_the_gateway() {
    let mut registry = serving(2);
    drain(&mut registry, 2, Some(0), false).expect("another serves");
    let PendingDrain { decided_ms, .. } = registry.pending_drains(Instant::now())[0];
    announce(&mut registry, 2, "s2", Some(0), (decided_ms, Some(unix_ms())));
    assert_eq!(
        (state(&registry, 2), registry.pending_drains(Instant::now())),
        (InstanceState::Drained, vec![])
    );
    let mut registry = restarted(&[1, 2], registry.state());
    assert_eq!(
        states(&registry)[1],
        (Some("s2"), InstanceState::Drained),
        "before the first check"
    );
    announce(&mut registry, 1, "s1", None, (0, None));
    announce(&mut registry, 2, "s2", None, (0, None));
    assert_eq!(state(&registry, 2), InstanceState::Drained, "both were restarted");
    let pending = registry.pending_drains(Instant::now());
    assert_eq!(
        pending,
        [PendingDrain { addr: addr(2), decided_ms, deadline_s: Some(0) }],
        "the instance does not announce it yet"
    );
    announce(&mut registry, 2, "s2", None, (decided_ms + 1, None));
    assert_eq!(state(&registry, 2), InstanceState::Healthy, "undrained through another gateway");
    announce(&mut registry, 2, "s2", None, (0, None));
    assert_eq!(
        (state(&registry, 2), registry.pending_drains(Instant::now()).len()),
        (InstanceState::Healthy, 1)
    );
    let moved = registry.state();
    assert_eq!(moved.drain_decisions.len(), 1, "that it serves is remembered, too");
}

#[test]
fn a_shutdown_does_not_end_a_drain() {
    let mut registry = serving(2);
    drain(&mut registry, 2, Some(600), false).expect("another serves");
    let PendingDrain { decided_ms, .. } = registry.pending_drains(Instant::now())[0];
    announce(&mut registry, 2, "s2", Some(600), (decided_ms, Some(unix_ms() + 600_000)));
    assert_eq!(state(&registry, 2), InstanceState::Draining);
    report(&mut registry, 2, "s2", Some(0));
    assert_eq!(state(&registry, 2), InstanceState::Drained, "it got a SIGTERM");
    report(&mut registry, 1, "s1", Some(0));
    assert_eq!(
        (state(&registry, 1), serving_as_the_last(&registry)),
        (InstanceState::Draining, vec![1])
    );
    announce(&mut registry, 2, "s2", None, (0, None));
    assert_eq!(state(&registry, 2), InstanceState::Drained, "it is back, and a decision stands");
    announce(&mut registry, 1, "s1", None, (0, None));
    assert_eq!(state(&registry, 1), InstanceState::Healthy);
}

#[test]
fn removing_the_last_available_instance_requires_force() {
    let mut registry = serving(3);
    for _ in 0..3 {
        fail(&mut registry, 2);
    }
    drain(&mut registry, 3, Some(0), false).expect("another serves");
    let last = registry
        .remove(PoolName::Stateful, "s1", false)
        .err()
        .map(|error| error.to_string())
        .expect("refused");
    assert!(
        last.contains("removing s1") && last.contains("s2 is unhealthy, s3 is drained"),
        "{last}"
    );
    registry.remove(PoolName::Stateful, "s2", false).expect("it serves nothing");
    registry.remove(PoolName::Stateful, "127.0.0.1:1", true).expect("forced");
    assert_eq!(registry.hosts().len(), 1);
}
