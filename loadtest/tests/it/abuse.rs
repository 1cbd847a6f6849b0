//! `loadtest abuse` against a real stack, long enough for several attempts of each trick. Needs the
//! workspace's binaries (`cargo build --workspace --bins`).

use std::process::Command;

use serde_json::Value;

#[test]
fn a_hostile_client_ejects_no_instance_and_fails_no_other_request() {
    let _processors = crate::shared_processors();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    // No limit on latencies: the machine is busy with other tests.
    let options = "abuse --duration 12s --quiet 1s --rate 100 --connections 16 --streams 2 \
                   --timeout 30s --max-p99-ratio 0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command.args(options.split(' ')).arg("--json").arg(&file).output().expect("runs");
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(0));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    assert_eq!((&report["failed"], &report["ejections"]), (&0.into(), &0.into()), "{report}");
    assert!(report["requests"].as_u64() > Some(300), "{report}");
    for (trick, tried) in report["tricks"].as_object().expect("tricks") {
        assert!(tried["times"].as_u64() > Some(5), "{trick}: {tried}");
    }
}
