//! `loadtest bench` against real stacks: everything is measured; the figures don't matter. Needs
//! the workspace's binaries (`cargo build --workspace --bins`) and redis-benchmark.

use std::process::Command;

use serde_json::Value;

#[test]
fn everything_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["bench", "--quick", "--parts", "reads,writes,memory", "--connections", "8"])
        .args(["--json", file.to_str().expect("text")])
        .output()
        .expect("runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        "requests/s",
        "gateway µs",
        "session, sticky",
        "script, redis-benchmark",
        "hot sessions, created",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
    let sections = report["sections"].as_array().expect("sections");
    assert_eq!(sections.len(), 3);
    for row in sections.iter().flat_map(|section| section["rows"].as_array().expect("rows")) {
        assert!(row["rps"]["median"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["failed"], 0, "{row}");
        assert_eq!(row["cpu_us"].as_array().map(Vec::len), Some(4), "{row}");
    }
    let ratios = sections.iter().map(|section| section["ratios"].as_array().map(Vec::len));
    assert!(ratios.eq([Some(2), Some(3), Some(1)]), "{report}");
    assert_eq!(sections[0]["rows"][1]["from_memory"], 1.0, "sticky reads come from memory");
    assert_eq!(sections[2]["memory"]["hot_sessions"], 200);
}

/// With Nginx, which is always installed; `make bench` covers the other proxies.
#[test]
fn the_gateway_is_compared_with_a_proxy_that_does_the_same_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["bench", "--quick", "--parts", "proxies", "--proxies", "gateway,nginx"])
        .args(["--json", file.to_str().expect("text")])
        .output()
        .expect("runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
    let section = &report["sections"][0];
    let rows = section["rows"].as_array().expect("rows");
    assert_eq!(
        rows.iter().map(|row| row["name"].as_str()).collect::<Vec<_>>(),
        [Some("gateway"), Some("Nginx")]
    );
    for row in rows {
        assert!(row["rps"]["median"].as_f64() > Some(0.0), "{row}");
        assert!(row["cpu_us"][0]["us"]["median"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["failed"], 0, "{row}");
    }
    assert_eq!(section["ratios"].as_array().map(Vec::len), Some(1), "{section}");
}
