//! `loadtest routing`, against a real stack and a gateway without a lab.

use std::process::{Command, Output};

use local_stack::Stack;
use serde_json::Value;

use crate::dummy::{Behaviour, Dummy};

async fn routing(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.arg("routing").args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_strategies_run_at_once_and_no_pool_is_switched() {
    let stack = Stack::for_tests().stateful(2).open_lab().start().await.expect("starts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name| folder.path().join(name).to_str().expect("text").to_owned();
    let (json, html) = (file("report.json"), file("report.html"));
    let target = stack.urls().gateway;
    let output = routing(&[
        "--target",
        &target,
        "--duration",
        "2",
        "-c",
        "4",
        "--json",
        &json,
        "--html",
        &html,
    ])
    .await;
    let pools = stack.control().pools().await.expect("pools");
    stack.shutdown().await;
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("reads from memory"), "{table}");
    let strategies: Vec<_> = pools.iter().map(|pool| pool.strategy.as_str()).collect();
    assert_eq!(strategies, ["round_robin", "sticky"]);

    let report: Value =
        serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
    let verdicts = |load: &str| report[load]["verdicts"].as_object().expect("verdicts").clone();
    assert!(verdicts("round_robin").keys().eq(["off"]), "{report}");
    assert!(!verdicts("sticky").contains_key("off"), "{report}");
    assert_eq!(report["sticky"]["reads_from_memory"], 1.0, "{report}");
    assert_eq!(report["round_robin"]["reads_from_memory"], 0.0, "{report}");
    for load in ["sticky", "round_robin"] {
        let counts = |member: &str| -> u64 {
            let counts = report[load][member].as_object().expect("counts");
            counts.values().map(|count| count.as_u64().expect("a count")).sum()
        };
        let requests = report[load]["requests"].as_u64();
        assert_eq!(Some(counts("instances")), requests, "{report}");
        assert_eq!(Some(counts("verdicts")), requests, "{report}");
        let seconds = report[load]["seconds"].as_array().expect("seconds");
        let ended: u64 = seconds.iter().filter_map(|second| second["succeeded"].as_u64()).sum();
        assert_eq!(Some(ended), requests, "{report}");
    }

    let page = std::fs::read_to_string(html).expect("written");
    assert_eq!(page.matches("<svg").count(), 2, "latencies and throughput");
    assert!(page.contains("Every request succeeded"), "{page}");
    // Nothing is loaded: the only addresses are that of the system and of SVG's namespace.
    let addresses = page.matches("http://").count();
    assert_eq!(addresses, 2 + 1, "{page}");
    assert!(!page.contains("https://") && !page.contains("<script"), "{page}");
}

#[tokio::test]
async fn a_closed_lab_is_named() {
    let server = Dummy::start(|_| Behaviour::Respond).await;
    let output = routing(&["--target", &server.url(), "--duration", "1"]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("its lab is closed") && error.contains("[lab] enabled"), "{error}");
}
