//! `loadtest faults` against real stacks: clients see what the runbook's table says. Needs the
//! workspace's binaries (`cargo build --workspace --bins`).

use std::process::Command;

use serde_json::Value;

/// Some of each kind; all of them take five minutes.
const CASES: &str =
    "--only=stateful-1-hung,redis-sessions-hung,redis-sessions-full,gateway-2-killed";

#[test]
fn clients_see_what_the_table_of_the_runbook_says() {
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
    // Three cases of three kinds of requests and one of five, each at first and then.
    assert_eq!(report["observed"].as_array().map(Vec::len), Some(28), "{report}");
}

#[test]
fn a_case_that_is_not_in_the_table_is_named_with_those_that_are() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command.args(["faults", "--only", "redis-on-fire"]).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && told.contains("redis-sessions-hung"), "{told}");
}
