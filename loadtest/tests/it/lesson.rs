//! `loadtest lesson` on systems that it starts: every prediction holds, and none does when its
//! claim is made false. Needs the workspace's binaries (`cargo build --workspace --bins`).

use std::process::{Command, Output};

use serde_json::Value;

fn lesson(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("lesson").args(options).output().expect("runs")
}

/// Runs all lessons with small samples; returns the exit status, the output, the report, and the
/// report as a page.
fn run_all(options: &[&str]) -> (Option<i32>, String, Vec<Value>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, page] = ["report.json", "report.html"].map(|name| folder.path().join(name));
    let files = ["--json", file.to_str().expect("text"), "--html", page.to_str().expect("text")];
    let all = ["run", "all", "--short", "--scratch"];
    let output = lesson(&[&all[..], options, &files].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a report was written")).expect("JSON");
    let page = std::fs::read_to_string(page).expect("a page was written");
    let lessons = report["lessons"].as_array().expect("lessons").clone();
    (output.status.code(), text, lessons, page)
}

#[test]
fn every_prediction_holds() {
    let (status, text, lessons, page) = run_all(&[]);
    assert_eq!(status, Some(0));
    let listed = String::from_utf8(lesson(&["list"]).stdout).expect("text");
    for lesson in &lessons {
        assert_eq!(lesson["holds"], true, "{lesson:#}");
        let name = lesson["name"].as_str().expect("a name");
        assert!(listed.contains(name), "{name} in {listed}");
        let is_predicted = |finding: &Value| finding["predicted"]["value"].is_f64();
        assert!(lesson["findings"].as_array().expect("findings").iter().any(is_predicted));
    }
    assert!(text.contains(&format!("All predictions of {} lessons hold.", lessons.len())));
    assert_eq!(page.matches("<svg").count(), lessons.len(), "a plot for each lesson");
    assert_eq!(page.matches("The prediction holds.").count(), lessons.len(), "{page}");
    // It opens offline: the only address is SVG's namespace.
    assert_eq!(page.matches("://").count(), lessons.len(), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn no_prediction_holds_when_its_claim_is_made_false() {
    let (status, _, lessons, page) = run_all(&["--falsify"]);
    assert_eq!(status, Some(1));
    for lesson in &lessons {
        assert_eq!(lesson["holds"], false, "{lesson:#}");
    }
    assert_eq!(page.matches("does NOT hold").count(), lessons.len(), "{page}");
}

#[test]
fn an_unknown_lesson_is_rejected_with_the_names() {
    let output = lesson(&["run", "alchemy"]);
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("round-robin") && error.contains("or all"), "{error}");
}
