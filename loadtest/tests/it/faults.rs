//! `loadtest faults` against real stacks: clients see what the runbook's table says. Needs the
//! workspace's binaries (`cargo build --workspace --bins`).

use std::process::Command;

use serde_json::Value;

/// Some cases of each kind; all of them take five minutes.
const CASES: &str = "--only=stateful-1-hung,redis-sessions-hung,redis-sessions-full,\
                     files-unusable,gateway-2-killed";

#[test]
fn clients_see_what_the_runbooks_table_lists() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command.args(["faults", CASES, "--json"]).arg(&file).output().expect("runs");
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(0));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    // Three cases with three kinds of requests, one with four and one with eight, each at first and
    // then.
    assert_eq!(report["observed"].as_array().map(Vec::len), Some(42), "{report}");
}

#[test]
fn an_unknown_case_is_rejected_with_the_list_of_cases() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command.args(["faults", "--only", "redis-on-fire"]).output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && error.contains("redis-sessions-hung"), "{error}");
}
