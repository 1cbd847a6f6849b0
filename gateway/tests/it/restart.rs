//! The state file: what survives a restart.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proto_contracts::control::{Event, InstanceAdded, InstanceState, Lasts, Strategy, StrategySet};
use proto_contracts::{AffinityKey, ErrorCode, PoolName, Verdict, headers};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{Setup, session_path};
use crate::upstream::Upstream;

#[test]
fn changes_by_the_control_api_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let configured = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let mut added = Upstream::start("stateful-4");
    let setup = Setup::new().stateful(&configured).state_file(folder.path().join("state.json"));
    let before = {
        let gateway = setup.start();
        assert_eq!(gateway.add(added.addr()).status, 201);
        assert_eq!(gateway.remove("stateful-2").status, 204);
        gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
        gateway.stateful()
    };
    added.leave();

    let gateway = setup.start_unready();
    let after = eventually("the running instances are healthy", || {
        let pool = gateway.stateful();
        (pool.instances.iter().filter(|instance| instance.state == InstanceState::Healthy).count()
            == 2)
            .then_some(pool)
    });
    assert_eq!((after.strategy, after.epoch), (Strategy::RoundRobin, before.epoch));
    let names: Vec<_> = after
        .instances
        .iter()
        .filter_map(|instance| instance.name.as_ref())
        .map(|n| n.as_str())
        .collect();
    assert_eq!(names, ["stateful-1", "stateful-3", "stateful-4"]);
    assert_eq!(after.instances[2].state, InstanceState::Unhealthy, "unhealthy, but still a member");

    gateway.set_strategy(PoolName::Stateful, Strategy::Sticky);
    let key = gateway.key_at("stateful-4");
    let away = gateway.send(&Request::get(&session_path(key)));
    assert_eq!(
        (away.verdict(), away.served_by()),
        (Verdict::Failover, gateway.ranking(key)[1].as_str())
    );
    added.come_back();
    gateway.wait_for("stateful-4", InstanceState::Healthy);
    let home = gateway.send(&Request::get(&session_path(key)));
    assert_eq!((home.verdict(), home.served_by()), (Verdict::Home, "stateful-4"));
}

/// Makes writes of the state file fail with ENOSPC, by the path of the temporary file that the
/// gateway writes first.
fn fill_disk(state_file: &Path) -> PathBuf {
    let beside = state_file.with_extension(format!("{}.new", std::process::id()));
    // The gateway may be writing it right now.
    eventually("no temporary file", || symlink("/dev/full", &beside).ok());
    beside
}

#[test]
fn a_change_that_cannot_be_saved_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let configured = Upstream::start_all(["stateful-1", "stateful-2"]);
    let other = Upstream::start("stateful-3");
    let setup = Setup::new().stateful(&configured).state_file(path.clone());
    let gateway = setup.start();
    let mut events = gateway
        .listen("?types=state_file_changed,strategy_changed,instance_added,instance_removed");
    let before = gateway.stateful();
    assert_eq!(gateway.metric("gateway_state_file_writable"), Some(1.0));

    // Names that the health checks found are saved a moment later.
    let names = ["stateful-1", "stateful-2"];
    eventually("the names are saved", || {
        let saved = std::fs::read_to_string(&path).unwrap_or_default();
        names.iter().all(|name| saved.contains(name)).then_some(())
    });

    let full = fill_disk(&path);
    let strategy = Request::new("PUT", "/control/v1/pools/stateful/strategy")
        .json(r#"{"strategy":"round_robin"}"#);
    for rejected in
        [gateway.change(strategy.clone()), gateway.add(other.addr()), gateway.remove("stateful-2")]
    {
        assert_eq!((rejected.status, rejected.code()), (507, ErrorCode::StateNotSaved));
        let detail = rejected.problem().detail.into_owned();
        for part in ["Nothing was changed", "No space left on device", "state.json", "Free space"] {
            assert!(detail.contains(part), "'{part}' in {detail}");
        }
    }
    let after = gateway.stateful();
    assert_eq!(
        (after.strategy, after.epoch, after.instances.len()),
        (before.strategy, before.epoch, 2)
    );
    assert_eq!(gateway.metric("gateway_state_file_writable"), Some(0.0));
    assert!(
        gateway
            .metric("gateway_state_file_write_failures_total")
            .is_some_and(|failures| failures >= 3.0)
    );
    // Setting the current value changes nothing, so nothing is written.
    gateway.set_strategy(PoolName::Stateful, before.strategy);
    assert!(matches!(events.next(), Some(Event::StateFileChanged { error: Some(_) })));

    std::fs::remove_file(full).expect("removed");
    eventually("the file is written again", || {
        (gateway.metric("gateway_state_file_writable") == Some(1.0)).then_some(())
    });
    let saved = gateway.change(strategy);
    assert_eq!((saved.status, saved.json::<StrategySet>().lasts), (200, Lasts::Saved));
    assert_eq!(gateway.remove("stateful-2").header(headers::CHANGE_LASTS), Some("saved"));
    drop(gateway);
    let gateway = setup.start_unready();
    let restarted = gateway.stateful();
    assert_eq!((restarted.strategy, restarted.instances.len()), (Strategy::RoundRobin, 1));
}

#[test]
fn without_a_state_file_changes_last_until_a_restart() {
    let configured = Upstream::start_all(["stateful-1", "stateful-2"]);
    let other = Upstream::start("stateful-3");
    let gateway = Setup::new().stateful(&configured).start();
    let strategy = Request::new("PUT", "/control/v1/pools/stateful/strategy")
        .json(r#"{"strategy":"round_robin"}"#);
    assert_eq!(gateway.change(strategy).json::<StrategySet>().lasts, Lasts::UntilRestart);
    assert_eq!(gateway.add(other.addr()).json::<InstanceAdded>().lasts, Lasts::UntilRestart);
    assert_eq!(gateway.remove("stateful-2").header(headers::CHANGE_LASTS), Some("until_restart"));
    assert_eq!(gateway.metric("gateway_state_file_writable"), None);
}

#[test]
fn a_strategy_that_was_never_switched_follows_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let setup = Setup::new().stateful(&upstreams).state_file(folder.path().join("state.json"));
    assert_eq!(setup.start().stateful().strategy, Strategy::Sticky);
    let gateway = setup.strategy(Strategy::RoundRobin).start();
    assert_eq!(gateway.stateful().strategy, Strategy::RoundRobin, "the configuration has changed");
}

#[test]
fn an_instance_that_moved_keeps_its_new_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let setup = Setup::new().stateful(&upstreams).state_file(folder.path().join("state.json"));
    let gateway = setup.start();
    upstreams[1].leave();
    gateway.wait_for("stateful-2", InstanceState::Unhealthy);
    let mut moved = Upstream::start("stateful-2");
    assert_eq!(gateway.add(moved.addr()).status, 201);
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    let epoch = gateway.stateful().epoch;
    drop(gateway);

    moved.leave();
    let gateway = setup.start_unready();
    gateway.wait_for("stateful-1", InstanceState::Healthy);
    let pool = gateway.stateful();
    let remembered =
        pool.instances.iter().find(|instance| instance.addr == moved.addr()).expect("it was added");
    assert_eq!(remembered.name.as_ref().map(|name| name.as_str()), Some("stateful-2"));
    assert_eq!(pool.epoch, epoch);
}

#[test]
fn without_changes_a_restart_changes_nothing() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let setup = Setup::new().stateful(&upstreams);
    let keys: Vec<_> = (0..50).map(|_| AffinityKey::random()).collect();
    let homes = || {
        let gateway = setup.start();
        keys.iter()
            .map(|&key| gateway.send(&Request::get(&session_path(key))).stamp())
            .collect::<Vec<_>>()
    };
    assert_eq!(homes(), homes());
}
