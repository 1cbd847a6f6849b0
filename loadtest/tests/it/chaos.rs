//! `loadtest chaos` against real stacks: it finds nothing against a store that keeps its promises, and a lot against one that
//! does not. Needs the workspace's binaries (`cargo build --workspace --bins`).

use std::process::{Command, Output};

use serde_json::Value;

fn chaos(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("chaos").args(options).output().expect("runs")
}

/// Runs it to its end. What it told is shown when the test fails.
fn report(options: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let mut options = options.to_vec();
    options.extend(["--json", file.to_str().expect("text")]);
    let output = chaos(&options);
    eprintln!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let report = std::fs::read(file).expect("a report was written");
    (output, serde_json::from_slice(&report).expect("JSON"))
}

/// How often each fault happened.
fn faults(report: &Value, kind: &str) -> usize {
    report["faults"].as_array().expect("faults").iter().filter(|fault| fault["kind"] == kind).count()
}

#[test]
fn redis_keeps_every_promise() {
    keeps_every_promise("redis");
}

#[test]
fn hot_copies_keep_every_promise() {
    keeps_every_promise("hybrid");
}

fn keeps_every_promise(store: &str) {
    let asked = "kill-stateful,pause-stateful,toggle-strategy,restart-redis";
    let (output, report) = report(&["--store", store, "--duration", "8s", "--faults", asked]);
    assert_eq!(output.status.code(), Some(0));
    for kind in asked.split(',') {
        assert!(faults(&report, kind) > 0, "{kind}");
    }
    // Far fewer than the slowest machine does: this only shows that there was something to check.
    assert!(report["acknowledged"].as_u64() > Some(300));
    for promise in [
        "lost",
        "duplicated",
        "reordered",
        "stale_reads",
        "cross_session_reads",
        "resurrected",
        "phantoms",
        "unreadable",
    ] {
        assert_eq!(report[promise], 0, "{promise}");
    }
    for member in ["requests", "unknown_resolved", "worst_gap_ms", "seed"] {
        assert!(report[member].is_u64(), "{member}");
    }
    assert!(report["errors_by_kind"].is_object());
    assert_eq!(report["idempotency"], true, "writes of unknown outcome were repeated");
    assert_eq!((&report["store"], &report["violations"]), (&store.into(), &Value::Array(Vec::new())));
}

#[test]
fn memory_loses_what_round_robin_leads_elsewhere() {
    let (output, report) = report(&["--store", "memory", "--duration", "6s", "--faults", "toggle-strategy"]);
    assert_eq!(output.status.code(), Some(1));
    // Those that were created away from their home cannot be found there afterwards.
    assert!(report["lost"].as_u64() > Some(0));
    assert!(report["stale_reads"].as_u64() > Some(0));
    let violations = report["violations"].as_array().expect("violations");
    assert!(violations.iter().any(|violation| violation["breach"] == "lost"));
}

#[test]
fn memory_loses_what_its_instance_held() {
    let (output, report) = report(&["--store", "memory", "--duration", "3s", "--faults", "kill-stateful"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(report["lost"].as_u64() > Some(0));
}

#[test]
fn bad_usage_exits_with_64_and_names_the_fault() {
    for (options, named) in [
        (&["--faults", "spill"][..], "'spill' is not supported yet"),
        (&["--faults", "two-gateways"], "'two-gateways' is not supported yet"),
        (&["--faults", "earthquake"], "there is no fault 'earthquake'"),
        (&["--instances", "1"], "--instances 1"),
        (&["--store", "disk"], "--store"),
        (&["--duration", "0"], "--duration"),
    ] {
        let output = chaos(options);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{options:?}: {complaint}");
        assert!(complaint.contains(named), "{options:?}: {complaint}");
        assert!(output.stdout.is_empty());
    }
}
