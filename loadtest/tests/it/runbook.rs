//! `loadtest runbook`: the repository's runbook keeps its promises, and a wrong one is detected.
//! Needs the workspace's binaries (`cargo build --workspace --bins`).

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The exit status and the report.
fn run(runbook: &Path) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = command
        .arg("runbook")
        .arg("--file")
        .arg(runbook)
        .arg("--json")
        .arg(&file)
        .output()
        .expect("runs");
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code(),
        serde_json::from_slice(&fs::read(file).expect("a report")).expect("JSON"),
    )
}

#[test]
fn every_command_of_the_runbook_runs_and_every_promise_holds() {
    let _processors = crate::shared_processors();
    let (status, report) = run(&repository().join("docs/RUNBOOK.md"));
    assert_eq!((status, &report["wrong"]), (Some(0), &serde_json::json!([])));
    let sections = report["sections"].as_array().expect("sections");
    let commands: u64 = sections.iter().filter_map(|section| section["commands"].as_u64()).sum();
    assert!(
        sections.len() > 30 && commands > 80,
        "{} sections, {commands} commands",
        sections.len()
    );
    assert!(sections.iter().all(|section| section["requests"].as_u64() >= Some(100)), "{report}");
}

#[test]
fn broken_and_missing_promises_and_failing_commands_are_reported() {
    // A checkout with another runbook.
    let checkout = tempfile::tempdir().expect("a folder");
    for entry in ["Makefile", "infra"] {
        std::os::unix::fs::symlink(repository().join(entry), checkout.path().join(entry))
            .expect("linked");
    }
    fs::create_dir(checkout.path().join("docs")).expect("a folder");
    let runbook = checkout.path().join("docs/RUNBOOK.md");
    let text = "# A runbook\n\n## Broken\n\n**Promise:** no request fails.\n\n```\n\
                make kill i=nginx\nmake start i=nginx\n```\n\n\
                ## Missing\n\n`make status`\n\n## Failing\n\n**Promise:** no request fails.\n\n\
                `make start i=stateful-1`\n\n\
                ## Elsewhere\n\n**Promise:** no request fails.\n\n`docker ps -a`\n";
    fs::write(&runbook, text).expect("written");
    let (status, report) = run(&runbook);
    assert_eq!(status, Some(1));
    let wrong: Vec<_> =
        report["wrong"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let [broken, missing, failing] = wrong[..] else { panic!("{wrong:?}") };
    assert!(
        broken.starts_with("line 3: 'Broken' promises that no request fails, but "),
        "{broken}"
    );
    assert!(missing.starts_with("line 12: 'Missing' has commands but no promise"), "{missing}");
    assert!(
        failing.starts_with("line 20: `make start i=stateful-1`: exit status 2: "),
        "{failing}"
    );
    assert_eq!(report["not_run"][0]["command"], "docker ps -a");
}
