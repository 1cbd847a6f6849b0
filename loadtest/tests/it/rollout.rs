//! `loadtest rollout` against a real stack: nothing fails while its instances and its gateway are
//! replaced. Needs the workspace's binaries (`cargo build --workspace --bins`).

use std::process::Command;

use serde_json::Value;

#[test]
fn no_request_fails_while_everything_is_replaced() {
    let _processors = crate::shared_processors();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, page) = (folder.path().join("report.json"), folder.path().join("report.html"));
    // A light load, so that a busy machine causes no timeouts.
    let options = "rollout --rolls 1 --scales 1 --mistakes 1 --reloads 1 --upgrades 2 --rate 100 \
                   --connections 16 --streams 2 --timeout 30s --quiet 1s";
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command.args(options.split(' ')).arg("--json").arg(&file);
    let output = output.arg("--html").arg(&page).output().expect("runs");
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(0));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    assert_eq!(report["failed"], 0);
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("No request failed") && page.contains("restart, stateful"), "{page}");
    assert!(report["requests"].as_u64() > Some(500));
    assert!(report["streams"]["resumed"].as_u64() > Some(0), "streams were resumed: {report}");
    // Two were restarted, and two were started and stopped by scaling.
    assert_eq!(report["leases"], serde_json::json!({"stops": 4, "released": 4}), "{report}");
    assert!(
        report["p99s"]["quiet_ms"].as_f64() > Some(0.0)
            && report["p99s"]["rolling_stateful_ms"].is_f64(),
        "{report}"
    );
    for (operation, times) in [
        ("stateless_rolls", 1),
        ("stateful_rolls", 1),
        ("stateful_scales", 1),
        ("mistakes", 1),
        ("reloads", 1),
        ("upgrades", 2),
    ] {
        assert_eq!(report["operations"][operation], times, "{operation}");
    }
}
