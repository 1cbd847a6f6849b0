//! The program itself: its exit status, its table and its JSON.

use std::process::{Command, Output};

use serde_json::Value;

use crate::dummy::{Behaviour, Dummy};

async fn loadtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.arg("compare").args(arguments);
    // The dummy server runs on this test's runtime, so a blocking thread waits for the child.
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins")
}

#[tokio::test]
async fn the_report_has_the_agreed_members() {
    let server = Dummy::start(|_| Behaviour::Respond).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let path = file.to_str().expect("text");
    let output =
        loadtest(&["--target", &server.url(), "--duration", "1", "--rate", "50", "--json", path])
            .await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress display without a terminal");

    let table = String::from_utf8(output.stdout).expect("text");
    for word in [
        "requests/s",
        "p99.9 ms",
        "stateless",
        "stateful",
        "create",
        "message",
        "read",
        "stateless / stateful",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }

    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
    assert!(
        report["timestamp"].as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "{report}"
    );
    for kind in ["stateless", "stateful"] {
        for member in ["rps", "p50_ms", "p90_ms", "p99_ms", "p999_ms"] {
            assert!(
                report[kind][member].as_f64().is_some_and(|number| number > 0.0),
                "{kind}.{member} in {report}"
            );
        }
        assert_eq!(report[kind]["requests"], 50);
        assert_eq!(report[kind]["errors"], 0);
    }
    for member in ["stateless_rps", "stateful_rps", "ratio"] {
        assert!(report["comparison"][member].is_f64(), "comparison.{member} in {report}");
    }
    assert!(report["stateful"]["operations"]["create"]["requests"].is_u64(), "{report}");
}

#[tokio::test]
async fn failed_requests_and_an_unreachable_target_exit_with_1() {
    let server =
        Dummy::start(|number| if number == 3 { Behaviour::HangUp } else { Behaviour::Respond })
            .await;
    let output = loadtest(&["--target", &server.url(), "--duration", "1", "--rate", "10"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("stateless info: 1 × broken"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let output = loadtest(&["--target", &url, "--duration", "1"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("does not respond; is the system up?")
    );
}

#[tokio::test]
async fn an_invalid_command_line_exits_with_64_and_names_the_option() {
    for (arguments, named) in [
        (&["--target", "http://192.0.2.1:8000"][..], "--allow-remote"),
        (&["--target", "https://127.0.0.1:8443"], "--cacert"),
        (&["--target", "127.0.0.1:8000"], "--target"),
        (&["--target", "http://127.0.0.1:8000/api"], "--target"),
        (&["--target", "http://127.0.0.1:8000", "--cacert", "/dev/null"], "--cacert"),
        (&["--target", "https://127.0.0.1:8443", "--cacert", "/dev/null"], "--cacert"),
        (&["--kinds", "stateless,stateless"], "--kinds"),
        (&["--kinds", "stateless", "--rate-stateful", "5"], "--rate-stateful"),
        (&["--rate", "0"], "--rate"),
        (&["--connections", "0"], "--connections"),
        (&["--duration", "-1"], "-1"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let output = loadtest(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {error}");
        assert!(error.contains(named), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}
