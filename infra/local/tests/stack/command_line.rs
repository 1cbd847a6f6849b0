//! The `local-stack` command line: `up`, `status`, `down`, and a killed supervisor.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_stack::{Builds, FreeOffset};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::Role;
use proto_contracts::accounts::{Tokens, User};
use service_kit::tls::install_provider;

/// Limit for processes to disappear.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A state folder whose supervisor ends with the test, on default ports shifted to free ones.
pub(crate) struct Installation {
    dir: tempfile::TempDir,
    local_stack: PathBuf,
    pub(crate) offset: u16,
    /// Reserves the ports among tests, in this process or another.
    _lease: FreeOffset,
}

impl Installation {
    pub(crate) fn new() -> Result<Self> {
        let local_stack = Builds::beside_current_exe()?.binary("local-stack")?;
        let dir = tempfile::Builder::new().prefix("tandem-cli-").tempdir()?;
        let lease = FreeOffset::find()?;
        Ok(Self { dir, local_stack, offset: lease.get(), _lease: lease })
    }

    pub(crate) fn state(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(Command::new(&self.local_stack).arg("--state").arg(self.state()).args(args).output()?)
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn succeed(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "{args:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Runs a command that must fail with all of these in its error.
    fn refuse(&self, args: &[&str], expected: &[&str]) -> Result<()> {
        let output = self.run(args)?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{args:?} did not fail: {text}");
        for part in expected {
            ensure!(text.contains(part), "{args:?} does not print '{part}': {text}");
        }
        Ok(())
    }

    pub(crate) fn up(&self) -> Result<String> {
        self.succeed(&[
            "up",
            "--stateless=1",
            "--stateful=2",
            &format!("--port-offset={}", self.offset),
        ])
    }

    fn supervisor(&self) -> Result<Pid> {
        let file: serde_json::Value =
            serde_json::from_slice(&fs::read(self.state().join("supervisor.json"))?)?;
        Ok(Pid::from_raw(i32::try_from(file["pid"].as_i64().context("a pid")?)?))
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

/// The processes of this state folder: those that name it and those that descend from one that
/// does.
fn processes(state: &Path) -> Vec<i32> {
    let state = state.to_string_lossy().into_owned();
    let mut found: Vec<(i32, i32)> = Vec::new();
    let mut ours: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let (Some(&status), Some(parent)) =
            (fields.first(), fields.get(1).and_then(|text| text.parse().ok()))
        else {
            continue;
        };
        if status == "Z" {
            continue;
        }
        found.push((pid, parent));
        let words = ["cmdline", "environ"]
            .map(|file| fs::read(entry.path().join(file)).unwrap_or_default())
            .concat();
        if String::from_utf8_lossy(&words).contains(&state) {
            ours.push(pid);
        }
    }
    let mut next = 0;
    while let Some(&parent) = ours.get(next) {
        for &(pid, of) in &found {
            if of == parent && !ours.contains(&pid) {
                ours.push(pid);
            }
        }
        next += 1;
    }
    ours
}

/// The kernel's letter for a process's state; `None` when it is gone.
fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

async fn await_none_of(pids: &[i32]) -> Result<()> {
    let begin = Instant::now();
    loop {
        let alive = |pid: &&i32| state_of(**pid).is_some_and(|state| state != 'Z');
        let left: Vec<String> = pids
            .iter()
            .filter(alive)
            .map(|pid| {
                fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .unwrap_or_default()
                    .replace('\0', " ")
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(begin.elapsed() < TIMEOUT, "still there: {left:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `up` printed where the password is, and not the password.
async fn the_admin_logs_in(installation: &Installation, printed: &str) -> Result<()> {
    let file = installation.state().join("admin.password");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let password = fs::read_to_string(&file)?.trim().to_owned();
    let shown = printed.contains(&password);
    assert!(printed.contains(&*file.to_string_lossy()) && !shown, "{printed}");
    let auth = format!("http://127.0.0.1:{}/api/v1/auth", 8000 + installation.offset);
    let body = serde_json::json!({"username": "admin", "password": password});
    let client = crate::client_without_ca()?;
    let response = client.post(format!("{auth}/login")).json(&body).send().await?;
    let tokens: Tokens = response.error_for_status()?.json().await?;
    let me = client.get(format!("{auth}/me")).bearer_auth(tokens.access_token).send().await?;
    assert_eq!(me.error_for_status()?.json::<User>().await?.role, Role::Admin);
    Ok(())
}

#[tokio::test]
async fn up_again_is_quick_and_down_leaves_nothing() -> Result<()> {
    let installation = Installation::new()?;
    assert!(installation.succeed(&["status"])?.contains("Not running"));
    // Left by a power loss.
    fs::write(installation.state().join("supervisor.json"), r#"{"pid":1,"agent":"127.0.0.1:1"}"#)?;
    let text = installation.up()?;
    assert!(
        text.contains("Tandem is running") && text.contains("ca.pem") && text.contains("$(cat "),
        "{text}"
    );
    let secret = fs::read_to_string(installation.state().join("control.token"))?;
    assert!(!text.contains(secret.trim()));
    the_admin_logs_in(&installation, &text).await?;

    let begin = Instant::now();
    let again = installation.succeed(&["up", "--stateful=3"])?;
    assert!(again.contains("Already running") && again.contains("stateful-3"), "{again}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // An unchangeable setting is an error with the running value and the cure.
    for (option, named) in [
        ("--store=memory", "STORE=hybrid, not memory"),
        ("--port-offset=0", "PORT_OFFSET="),
        ("--redis=cluster", "REDIS=single, not cluster"),
        ("--lab", "LAB=0, not 1"),
    ] {
        installation.refuse(&["up", option], &[named, "make down"])?;
    }
    installation.refuse(&["scale", "stateful=0"], &["every request", "force=1"])?;
    installation.refuse(&["up", "--stateless=0"], &["every request", "force=1"])?;
    let none = installation.succeed(&["scale", "stateful=0", "--force"])?;
    assert!(!none.contains("stateful-"), "{none}");
    installation.succeed(&["scale", "stateful=3"])?;
    // An instance that was removed is a member again once it is started.
    installation.succeed(&["ctl", "remove", "stateful-2"])?;
    installation.succeed(&["stop", "stateful-2"])?;
    installation.succeed(&["start", "stateful-2"])?;
    let pools = installation.succeed(&["ctl", "pools", "stateful"])?;
    assert!(pools.contains("stateful-2"), "{pools}");
    installation.refuse(&["up", "--gateways=2"], &["GATEWAYS=1, not 2"])?;
    installation.refuse(
        &["roll", "redis-sessions"],
        &["redis-sessions cannot be rolled", "make start i=redis-sessions"],
    )?;
    let data_plane = format!("http://127.0.0.1:{}", 8000 + installation.offset);
    installation
        .refuse(&["ctl", "--control", &data_plane, "pools"], &["control plane", "--control"])?;

    installation.succeed(&["kill", "stateful-2"])?;
    let status = installation.succeed(&["status"])?;
    assert!(
        status.lines().any(|line| line.starts_with("stateful-2 ") && line.contains("killed")),
        "{status}"
    );
    installation.succeed(&["start", "stateful-2"])?;
    let scaled = installation.succeed(&["scale", "stateful=1", "stateless=2"])?;
    assert!(scaled.contains("stateless-2") && !scaled.contains("stateful-2"), "{scaled}");
    assert!(installation.succeed(&["logs", "gateway"])?.contains('\n'));
    let unknown = installation.run(&["kill", "stateful-7"])?;
    let unknown = String::from_utf8(unknown.stderr)?;
    assert!(unknown.contains("no component is named 'stateful-7'; known: postgres"), "{unknown}");

    // No log contains a secret.
    for log in fs::read_dir(installation.state().join("logs"))?.flatten() {
        let text = fs::read_to_string(log.path())?;
        let secrets = [
            "control.token",
            "agent.token",
            "driver.token",
            "postgres.password",
            "metrics.password",
        ];
        for file in secrets {
            let secret = fs::read_to_string(installation.state().join(file))?;
            assert!(!text.contains(secret.trim()), "{file} in {}", log.path().display());
        }
    }
    let before = processes(installation.state());
    assert!(before.len() > 8, "{before:?}");
    installation.succeed(&["down"])?;
    await_none_of(&before).await?;
    assert_eq!(processes(installation.state()), Vec::<i32>::new());
    assert!(installation.succeed(&["down"])?.contains("Not running"));
    Ok(())
}

#[tokio::test]
async fn two_ups_at_once_both_end_with_a_running_system() -> Result<()> {
    let installation = Arc::new(Installation::new()?);
    let ups = (0..2).map(|_| {
        let installation = Arc::clone(&installation);
        tokio::task::spawn_blocking(move || installation.up())
    });
    let mut joined = 0;
    for up in ups.collect::<Vec<_>>() {
        let text = up.await??;
        assert!(text.contains("Tandem is running"), "{text}");
        // The second one waited, and shows the whole table.
        joined += usize::from(text.contains("Already") && text.contains("nginx "));
    }
    assert_eq!(joined, 1);
    Ok(())
}

#[tokio::test]
async fn an_edit_survives_an_upgrade_and_a_stream_gets_a_last_event() -> Result<()> {
    let installation = Installation::new()?;
    installation.up()?;
    let file = installation.state().join("gateway/gateway.toml");
    let written = fs::read_to_string(&file)?;
    let edited =
        written.replace("[health]", "# Ours.\n[limits]\nmax_target_bytes = 4096\n\n[health]");
    ensure!(edited != written, "{written}");
    fs::write(&file, &edited)?;
    installation.succeed(&["upgrade-gateway"])?;
    assert_eq!(fs::read_to_string(&file)?, edited, "the upgrade keeps it");
    let reloaded = installation.succeed(&["ctl", "reload", "--json"])?;
    let reloaded: serde_json::Value = serde_json::from_str(&reloaded)?;
    assert_eq!(reloaded["needs_restart"], serde_json::json!([]), "the new process has read it");

    let client = client_with_ca(&installation)?;
    let base = format!("https://localhost:{}/api/v1/stateful/sessions", 8443 + installation.offset);
    let created =
        client.post(&base).json(&serde_json::json!({})).send().await?.error_for_status()?;
    let session: serde_json::Value = created.json().await?;
    let events = format!("{base}/{}/events", session["session_id"].as_str().context("an id")?);
    let mut stream = client.get(events).send().await?.error_for_status()?;
    let read_to_end = tokio::spawn(async move {
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunk().await? {
            text.extend_from_slice(&chunk);
        }
        anyhow::Ok(String::from_utf8(text)?)
    });
    let down = Arc::new(installation);
    let ended = Arc::clone(&down);
    tokio::task::spawn_blocking(move || ended.succeed(&["down"])).await??;
    let text = read_to_end.await?.context("the stream is cut")?;
    assert!(text.contains("going_away"), "{text}");
    let log = fs::read_to_string(down.state().join("logs/supervisor.log"))?;
    assert!(!log.contains("was killed"), "all components stopped in time: {log}");
    Ok(())
}

/// A client that trusts the installation's CA.
fn client_with_ca(installation: &Installation) -> Result<reqwest::Client> {
    let authority =
        reqwest::Certificate::from_pem(&fs::read(installation.state().join("tls/ca.pem"))?)?;
    install_provider();
    Ok(reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build()?)
}

#[tokio::test]
async fn everything_ends_with_a_killed_supervisor_and_the_data_stays() -> Result<()> {
    let installation = Installation::new()?;
    installation.up()?;
    let processes_before = processes(installation.state());
    // Nginx' workers and PostgreSQL's processes are among them.
    assert!(processes_before.len() > 12, "{processes_before:?}");
    let supervisor = installation.supervisor()?;
    kill(supervisor, Signal::SIGKILL)?;
    await_none_of(&[supervisor.as_raw()]).await?;
    // At once, while some of the old processes are still ending.
    let text = installation.up()?;
    assert!(text.contains("Tandem is running"), "{text}");
    await_none_of(&processes_before).await?;
    assert_ne!(installation.supervisor()?, supervisor);
    Ok(())
}

#[tokio::test]
async fn paused_components_end_with_a_killed_supervisor_too() -> Result<()> {
    let installation = Installation::new()?;
    installation.up()?;
    let before = processes(installation.state());
    let supervisor = installation.supervisor()?;
    let children: Vec<i32> =
        before.iter().copied().filter(|&pid| pid != supervisor.as_raw()).collect();
    for &pid in &children {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    }
    let begin = Instant::now();
    while children.iter().any(|&pid| state_of(pid) != Some('T')) {
        ensure!(begin.elapsed() < TIMEOUT, "not all have stopped");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill(supervisor, Signal::SIGKILL)?;
    await_none_of(&before).await
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_its_owner() -> Result<()> {
    let installation = Installation::new()?;
    let taken = 8000 + installation.offset;
    let _listener = TcpListener::bind(("127.0.0.1", taken))?;
    let output = installation.run(&["up", &format!("--port-offset={}", installation.offset)])?;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout)?;
    let expected = format!("port {taken} of gateway is in use by ");
    assert!(text.contains(&expected) && text.contains("PORT_OFFSET"), "{text}");
    assert_eq!(processes(installation.state()), Vec::<i32>::new());
    Ok(())
}
