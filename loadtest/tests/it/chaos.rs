//! `loadtest chaos` against real stacks: it finds nothing against a store that keeps its promises,
//! and a lot against one that does not. Needs the workspace's binaries (`cargo build --workspace
//! --bins`).

use std::process::{Command, Output};

use local_stack::SmallDisk;
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
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    let report = std::fs::read(file).expect("a report was written");
    (output, serde_json::from_slice(&report).expect("JSON"))
}

/// How often each fault happened.
fn faults_of(report: &Value, kind: &str) -> usize {
    report["faults"]
        .as_array()
        .expect("faults")
        .iter()
        .filter(|fault| fault["kind"] == kind)
        .count()
}

#[test]
fn redis_keeps_every_promise() {
    let asked = "kill-stateful,pause-stateful,toggle-strategy,restart-redis";
    keeps_every_promise(&["--store", "redis", "--duration", "8s", "--faults", asked], asked);
}

#[test]
fn hot_copies_keep_every_promise_through_all_faults() {
    let all = "kill-stateful,pause-stateful,kill-redis,restart-redis,scale,toggle-strategy,kill-gateway,kill-postgres,\
               spill,two-gateways,cut-reply,roll-stateless,roll-stateful,reload,upgrade-gateway,\
               hang-stateful,hang-redis,wrong-instance,drain-again";
    let report = keeps_every_promise(&["--store", "hybrid", "--duration", "15s"], all);
    assert!(report["spilled"].as_u64() > Some(0));
}

/// What an operator meets by mistake or bad luck, one after the other: nothing is lost, and
/// requests fail as the runbook's table says and not otherwise.
#[test]
fn mistakes_lose_nothing_and_cost_what_the_runbook_says() {
    let all = "cut-reply,hang-stateful,hang-redis,wrong-instance,drain-again";
    // A disk that can be filled takes root, as which CI runs.
    let asked = if SmallDisk::may_mount() { format!("{all},full-disk") } else { all.to_owned() };
    // The load is light, so that a busy machine shows what fails and not what is slow.
    let options = ["--store", "hybrid", "--duration", "10s", "--clients", "12", "--faults", &asked];
    let report = keeps_every_promise(&options, &asked);
    assert_eq!(report["errors_outside_faults"], 0, "{}", report["errors_by_kind"]);
    assert_eq!(report["unpromised"], Value::Array(Vec::new()));
}

fn keeps_every_promise(options: &[&str], asked: &str) -> Value {
    let store = options[1];
    let (output, report) = report(options);
    assert_eq!(output.status.code(), Some(0));
    for kind in asked.split(',') {
        assert!(faults_of(&report, kind) > 0, "{kind}");
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
        "errors_in_operations",
        "errors_unpromised",
    ] {
        assert_eq!(report[promise], 0, "{promise}");
    }
    for member in ["requests", "unknown_resolved", "worst_gap_ms", "seed"] {
        assert!(report[member].is_u64(), "{member}");
    }
    assert!(report["errors_by_kind"].is_object());
    assert_eq!(report["idempotency"], true, "writes of unknown outcome were repeated");
    assert_eq!(
        (&report["store"], &report["violations"]),
        (&store.into(), &Value::Array(Vec::new()))
    );
    report
}

/// With one guarantee taken out, and the fault that needs it.
#[test]
fn what_is_taken_out_of_the_hybrid_store_is_missed() {
    for (guarantee, asked, timeout, duration) in [
        // An instance wakes up after SIGSTOP and serves what it held, though its lease has run out
        // and the session was written to through the other gateway. On a busy machine one or two
        // reads of such a moment show it, so there are some eight, and many clients, who give up
        // soon enough that some ask shortly before it wakes up.
        ("no-lease-check", "two-gateways", "700ms --clients 96", "40s"),
        // Who writes away from home does not wait until the copy at home is gone.
        ("no-handover", "toggle-strategy", "5s", "6s"),
        ("no-drop", "toggle-strategy", "5s", "6s"),
    ] {
        let options = format!(
            "--store hybrid --broken {guarantee} --duration {duration} --faults {asked} --timeout {timeout}"
        );
        let options: Vec<_> = options.split(' ').collect();
        let (output, report) = report(&options);
        assert_eq!(output.status.code(), Some(1), "{guarantee}");
        assert!(report["stale_reads"].as_u64() > Some(0), "{guarantee}");
        for fault in asked.split(',') {
            assert!(faults_of(&report, fault) > 0, "{guarantee}: {fault}");
        }
    }
}

#[test]
fn memory_loses_what_round_robin_leads_elsewhere() {
    let (output, report) =
        report(&["--store", "memory", "--duration", "6s", "--faults", "toggle-strategy"]);
    assert_eq!(output.status.code(), Some(1));
    // Those that were created away from their home cannot be found there afterwards.
    assert!(report["lost"].as_u64() > Some(0));
    assert!(report["stale_reads"].as_u64() > Some(0));
    let violations = report["violations"].as_array().expect("violations");
    assert!(violations.iter().any(|violation| violation["breach"] == "lost"));
}

#[test]
fn memory_loses_what_its_instance_held() {
    let (output, report) =
        report(&["--store", "memory", "--duration", "3s", "--faults", "kill-stateful"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(report["lost"].as_u64() > Some(0));
}

#[test]
fn bad_usage_exits_with_64_and_names_the_fault() {
    for (options, named) in [
        (&["--faults", "spill", "--store", "memory"][..], "--faults spill: with --store memory"),
        (
            &["--faults", "two-gateways", "--target", "http://127.0.0.1:1"],
            "--faults two-gateways: a second gateway",
        ),
        (
            &["--faults", "cut-reply", "--store", "memory"],
            "--faults cut-reply: with --store memory",
        ),
        (&["--faults", "earthquake"], "no fault is named 'earthquake'"),
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
