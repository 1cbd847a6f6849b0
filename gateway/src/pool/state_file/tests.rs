//! The state file, also on a full disk.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use proto_contracts::control::Strategy;

use super::*;

fn open(path: &Path) -> StateFile {
    StateFile::open(Some(path.to_owned()), Events::new(0)).expect("opens")
}

fn round_robin() -> PoolState {
    PoolState { strategy: Some(Strategy::RoundRobin), ..PoolState::default() }
}

/// Fills the disk on which the file is written: the kernel's own ENOSPC, without a file system of
/// its own.
fn fill_disk(path: &Path) -> PathBuf {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    symlink("/dev/full", &beside).expect("links");
    beside
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_change_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let file = open(&path);
    assert_eq!(file.lasts(), Lasts::Saved);
    file.begin().expect("begins").write(PoolName::Stateful, round_robin()).expect("writes");
    let reopened = open(&path);
    assert_eq!(reopened.load(PoolName::Stateful), round_robin());
    assert_eq!(reopened.load(PoolName::Stateless), PoolState::default());
}

#[test]
fn a_change_on_a_full_disk_is_rejected_and_keeps_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let file = open(&path);
    let before = fs::read(&path).expect("reads");
    let full = fill_disk(&path);
    let refused = file.begin().expect("begins").write(PoolName::Stateful, round_robin());
    let Err(SaveError::Io { source, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).expect("reads"), before);
    let health = file.health().expect("there is a file");
    assert!(health.error.is_some() && health.failures >= 1, "{health:?}");
    fs::remove_file(full).expect("there is room");
    eventually("it is tried again by itself", || {
        file.health().is_some_and(|health| health.error.is_none())
    });
    assert_eq!(
        open(&path).load(PoolName::Stateful),
        PoolState::default(),
        "the change was refused"
    );
}

#[test]
fn names_found_on_a_full_disk_are_saved_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let file = open(&path);
    let full = fill_disk(&path);
    let learned =
        PoolState { discovered: vec![([10, 0, 0, 1], 80).into()], ..PoolState::default() };
    file.note(PoolName::Stateful, learned.clone());
    eventually("it fails", || file.health().is_some_and(|health| health.failures > 0));
    fs::remove_file(full).expect("there is room");
    eventually("it is written", || {
        fs::read(&path).is_ok_and(|json| String::from_utf8_lossy(&json).contains("10.0.0.1:80"))
    });
    assert_eq!(open(&path).load(PoolName::Stateful), learned);
}

#[test]
fn nothing_is_changed_while_another_process_reads_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let file = open(&path);
    file.freeze();
    assert!(matches!(file.begin(), Err(SaveError::Frozen)));
    file.thaw();
    file.begin().expect("begins").write(PoolName::Stateful, round_robin()).expect("writes");
    file.hand_over();
    assert!(matches!(file.begin(), Err(SaveError::Frozen)));
    fs::write(&path, "the other's").expect("writes");
    file.note(PoolName::Stateful, PoolState::default());
    file.close();
    assert_eq!(fs::read(&path).expect("reads"), b"the other's");
}

#[test]
fn without_a_file_a_change_lasts_until_a_restart() {
    let file = StateFile::open(None, Events::new(0)).expect("opens");
    assert_eq!((file.lasts(), file.health().is_none()), (Lasts::UntilRestart, true));
    file.begin()
        .expect("begins")
        .write(PoolName::Stateful, round_robin())
        .expect("nothing to write");
}

#[test]
fn a_damaged_or_unwritable_file_is_found_at_start_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    fs::write(&path, "{").expect("writes");
    assert!(matches!(
        StateFile::open(Some(path), Events::new(0)),
        Err(StateFileError::Damaged { .. })
    ));
    let missing = folder.path().join("missing/state.json");
    assert!(matches!(
        StateFile::open(Some(missing), Events::new(0)),
        Err(StateFileError::Io { .. })
    ));
}
