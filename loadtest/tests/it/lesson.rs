//! `loadtest lesson` on systems that it starts: every prediction holds, and none does when its
//! claim is made false. Needs the workspace's binaries (`cargo build --workspace --bins`).

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use local_stack::{AgentClient, Builds, Control, FreeOffset};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;
use serde_json::Value;

/// Bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(60);

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
#[ignore = "takes minutes on a busy machine: make test-lessons, each night"]
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
#[ignore = "takes a minute, and unit tests break each claim, too: make test-lessons"]
fn no_prediction_holds_when_its_claim_is_made_false() {
    let (status, _, lessons, page) = run_all(&["--falsify"]);
    assert_eq!(status, Some(1));
    for lesson in &lessons {
        assert_eq!(lesson["holds"], false, "{lesson:#}");
    }
    assert_eq!(page.matches("does NOT hold").count(), lessons.len(), "{page}");
}

/// A system as `make up` starts it, in a folder of its own. It ends with the test.
struct Installation {
    state: tempfile::TempDir,
    /// Reserved as long as it runs.
    ports: FreeOffset,
}

impl Installation {
    fn up() -> Self {
        let ports = FreeOffset::find().expect("free ports");
        let state = tempfile::Builder::new().prefix("tandem-lesson-").tempdir().expect("a folder");
        let installation = Self { state, ports };
        let offset = format!("--port-offset={}", installation.ports.get());
        let up = installation.run(&["up", "--stateless=2", "--stateful=2", &offset]);
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        installation
    }

    fn path(&self) -> &Path {
        self.state.path()
    }

    fn run(&self, args: &[&str]) -> Output {
        let program = Builds::beside_current_exe().expect("builds").binary("local-stack");
        let mut command = Command::new(program.expect("built"));
        command.arg("--state").arg(self.path()).args(args).output().expect("runs")
    }

    /// A lesson on this system.
    fn lesson(&self, name: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command.args(["lesson", "run", name, "--state"]).arg(self.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs")
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

/// What lessons may change: strategies, instances with their states, components, sessions.
async fn found(agent: &AgentClient, control: &Control) -> Vec<String> {
    let pools = control.pools().await.expect("pools");
    let mut lines = Vec::new();
    for pool in &pools {
        lines.push(format!("{} {}", pool.name, pool.strategy));
        let instances = pool.instances.iter();
        lines.extend(instances.map(|at| format!("{:?} {:?} {}", at.name, at.state, at.addr)));
    }
    let parts = agent.status().await.expect("a status").components;
    lines.extend(parts.iter().map(|part| format!("{} {:?}", part.name, part.state)));
    let redis = parts.iter().find(|part| part.name == "redis-sessions").expect("a Redis");
    let sessions = sessions(&format!("redis://127.0.0.1:{}", redis.port)).await;
    lines.push(format!("{} sessions", sessions.expect("Redis responds")));
    lines
}

/// Sessions in Redis that were not deleted. What an instance reports is what it has recently served.
async fn sessions(url: &str) -> redis::RedisResult<usize> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("session:*:meta").query_async(&mut redis).await?;
    let mut sessions = 0;
    for key in keys {
        let mut command = redis::cmd("HEXISTS");
        let is_deleted: bool = command.arg(key).arg("deleted").query_async(&mut redis).await?;
        sessions += usize::from(!is_deleted);
    }
    Ok(sessions)
}

async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < TIMEOUT, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_system_is_left_as_it_was_also_when_a_lesson_is_interrupted() {
    let system = tokio::task::spawn_blocking(Installation::up).await.expect("it starts");
    let agent = AgentClient::of_running(system.path()).expect("it runs");
    let status = agent.status().await.expect("a status");
    let token = std::fs::read_to_string(&status.control_token_file).expect("a token");
    let control = Control::at(&status.urls.control, token.trim().to_owned().into()).expect("a URL");
    // Not the default, so that putting back differs from a default state.
    control.set_strategy(PoolName::Stateful, Strategy::RoundRobin).await.expect("switched");
    let before = found(&agent, &control).await;

    let whole = system.lesson("cookie").wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&whole.stdout);
    assert!(whole.status.success(), "{text}{}", String::from_utf8_lossy(&whole.stderr));
    assert!(text.contains("the running system"), "{text}");
    assert_eq!(found(&agent, &control).await, before);

    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let lesson = system.lesson("scaling");
        let pid = Pid::from_raw(i32::try_from(lesson.id()).expect("a pid"));
        wait_until("the lesson adds an instance", async || {
            let parts = agent.status().await.expect("a status").components;
            parts.iter().any(|part| part.name == "stateful-3")
        })
        .await;
        kill(pid, signal).expect("it runs");
        let ended = lesson.wait_with_output().expect("ends");
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{error}");
        let reason = if signal == Signal::SIGINT { "interrupted" } else { "terminated" };
        assert!(error.contains(reason) && error.contains("lesson 5"), "{error}");
        assert_eq!(found(&agent, &control).await, before, "{error}");
    }
}

#[test]
fn an_unknown_lesson_is_rejected_with_the_names() {
    let output = lesson(&["run", "alchemy"]);
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("round-robin") && error.contains("or all"), "{error}");
}
