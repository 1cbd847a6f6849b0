//! `loadtest logins` against a real stack. Needs the workspace's binaries (`cargo build
//! --workspace --bins`).

use std::process::Command;

use serde_json::Value;

#[test]
fn logins_at_once_stay_within_the_bound_of_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let few = ["logins", "--pairs", "10", "--clients", "50", "--duration", "3s", "--json"];
    let output = command.args(few).arg(&file).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    // Its exit status depends on latencies, which decide no test.
    let report: Value = serde_json::from_slice(&std::fs::read(file).expect(&text)).expect("JSON");
    assert_eq!(report["timing"]["pairs"], 10, "{report}");
    let rush = &report["rush"];
    assert_eq!(rush["failed_calls"], 0, "{report}");
    let statuses: Vec<_> = rush["logins"].as_object().expect("counts").keys().collect();
    assert!(statuses.iter().all(|status| ["200", "503"].contains(&status.as_str())), "{report}");
    assert!(rush["logins"]["200"].as_u64() > Some(0), "{report}");
    assert!(rush["memory_peak"].as_u64() <= rush["memory_bound"].as_u64(), "{report}");
}
