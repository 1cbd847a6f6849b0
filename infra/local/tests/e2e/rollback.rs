//! `infra/server/switch-release.sh` and `rollback.sh` under load, with the real programs: no request
//! fails, and no acknowledged message is lost.
//!
//! systemd is a stand-in that has the local stack do what it would. `make rollback-test` runs the same
//! with two builds, of which the newer one has a migration that the older one does not know. Here one
//! build is both, and the test migrates in between.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use local_stack::{Builds, Stack};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::api::Api;
use crate::{during, small_stack};

const PROGRAMS: [&str; 4] = ["gateway", "stateless-svc", "stateful-svc", "local-stack"];
const INSTANCES: [&str; 4] = ["stateful-1", "stateful-2", "stateless-1", "stateless-2"];

/// Leaves a request for the test, and waits for its answer.
const SYSTEMCTL: &str = r#"#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
active=$(cat gateway)
ask() {
    echo "$1" >request.new
    mv request.new request
    until [[ -e done ]]; do sleep 0.05; done
    status=$(cat done)
    rm done
    return "$status"
}
unit=${!#}
case $1 in
    list-units)
        for number in 1 2; do echo "${unit/\*/$number} loaded active running Tandem"; done ;;
    is-active) [[ $unit == "tandem-gateway@$active" ]] ;;
    restart) ask "$unit" ;;
    start)
        ask "$unit"
        echo "${unit#*@}" >gateway ;;
    enable | disable | stop) ;;
    *) exit 64 ;;
esac
"#;

/// `/opt/tandem` with two releases, and the stand-in of systemd.
struct Server {
    root: TempDir,
}

impl Server {
    /// The programs of both releases: those of the variables, or twice those of this build.
    fn prepare() -> Result<Self> {
        let built = Builds::beside_current_exe()?;
        // Beside the build, so that hard links are possible.
        let root = tempfile::Builder::new().prefix("rollback-").tempdir_in(built.dir())?;
        for (release, variable) in [("older", "ROLLBACK_OLDER"), ("newer", "ROLLBACK_NEWER")] {
            let from = std::env::var_os(variable).map_or(built.dir().to_owned(), PathBuf::from);
            let folder = root.path().join("releases").join(release);
            fs::create_dir_all(&folder)?;
            for program in PROGRAMS {
                let found = from.join(program);
                let from = if found.is_file() { found } else { built.dir().join(program) };
                fs::hard_link(&from, folder.join(program))
                    .with_context(|| format!("link {}", from.display()))?;
            }
        }
        symlink("releases/older", root.path().join("current"))?;
        fs::create_dir(root.path().join("usr-bin"))?;
        let bin = root.path().join("bin");
        fs::create_dir(&bin)?;
        fs::write(bin.join("gateway"), "a")?;
        fs::write(bin.join("systemctl"), SYSTEMCTL)?;
        fs::set_permissions(bin.join("systemctl"), fs::Permissions::from_mode(0o755))?;
        Ok(Self { root })
    }

    fn current(&self) -> PathBuf {
        self.root.path().join("current")
    }

    fn link(&self, name: &str) -> Result<String> {
        let target = fs::read_link(self.root.path().join(name))?;
        Ok(target.file_name().context("a release")?.to_string_lossy().into_owned())
    }

    /// Runs a script of `infra/server` under load, and does what it asks of systemd. Returns the
    /// load's report.
    async fn run(&self, stack: &Stack, script: &str, arguments: &[&str]) -> Result<Value> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server");
        let report = self.root.path().join("load.json");
        let mut load = during::load(stack, &report)?;
        load.args(["--streams", "4", "--timeout", "30s", "--"])
            .arg(folder.join(script))
            .args(arguments)
            .envs(self.env(stack));
        let mut output = Box::pin(load.output());
        let output = loop {
            tokio::select! {
                output = &mut output => break output?,
                done = self.do_next(stack) => done?,
            }
        };
        let text = fs::read_to_string(&report).with_context(|| format!("{output:?}"))?;
        let report: Value = serde_json::from_str(&text)?;
        eprintln!("{script} {arguments:?}: {report}");
        ensure!(report["exit_status"] == 0, "{script}: {output:?}");
        Ok(report)
    }

    fn env(&self, stack: &Stack) -> [(&'static str, String); 5] {
        let path = std::env::var("PATH").unwrap_or_default();
        let config = stack.state_dir().join("gateway/gateway.toml");
        [
            ("PATH", format!("{}:{path}", self.root.path().join("bin").display())),
            ("TANDEM_ROOT", self.root.path().display().to_string()),
            ("TANDEM_BIN", self.root.path().join("usr-bin").display().to_string()),
            ("GATEWAY_CONFIG", config.display().to_string()),
            ("GATEWAY_CONTROL", stack.urls().control),
        ]
    }

    /// Waits for a request to systemd, and does it.
    async fn do_next(&self, stack: &Stack) -> Result<()> {
        let bin = self.root.path().join("bin");
        let request = bin.join("request");
        while !request.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let unit = fs::read_to_string(&request)?;
        fs::remove_file(&request)?;
        let unit = unit.trim().trim_end_matches(".service");
        let done = match unit.strip_prefix("tandem-").and_then(|unit| unit.split_once('@')) {
            Some(("gateway", _)) => stack.upgrade("gateway").await,
            // As systemd restarts: SIGTERM, then a new process.
            Some((pool, number)) => {
                let name = format!("{pool}-{number}");
                stack.stop(&name).await?;
                stack.start_component(&name).await
            }
            None => bail!("there is no unit {unit}"),
        };
        fs::write(bin.join("done.new"), if done.is_ok() { "0" } else { "1" })?;
        fs::rename(bin.join("done.new"), bin.join("done"))?;
        Ok(done?)
    }

    /// Each process runs this release.
    fn check_runs(&self, stack: &Stack, release: &str) -> Result<()> {
        for name in INSTANCES.into_iter().chain(["gateway"]) {
            let program = fs::read_link(format!("/proc/{}/exe", stack.pid_of(name)?))?;
            let folder = program.parent().and_then(Path::file_name).context("a folder")?;
            ensure!(folder == release, "{name} runs {}", program.display());
        }
        Ok(())
    }
}

fn nothing_failed(report: &Value) -> Result<()> {
    ensure!(report["failed"] == 0, "{report}");
    ensure!(report["requests"].as_u64() > Some(500), "{report}");
    ensure!(report["streams"]["received"].as_u64() > Some(0), "{report}");
    Ok(())
}

/// What a newer release would do at its start: a migration that this build does not know.
async fn migrate_as_the_next_release(stack: &Stack) -> Result<()> {
    let url = stack.database_url();
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::spawn(connection);
    let migration = "ALTER TABLE users ADD COLUMN of_the_next_release text; \
                     INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
                     SELECT max(version) + 1, 'of_the_next_release', max(applied_on), '1' \
                     FROM refinery_schema_history";
    Ok(client.batch_execute(migration).await?)
}

#[tokio::test]
async fn a_release_is_rolled_back_without_a_failed_request_or_a_lost_message() -> Result<()> {
    let server = Server::prepare()?;
    let plan = small_stack().stateless(2).stateful(2).builds(Builds::in_dir(server.current()));
    let stack = plan.start().await?;
    let api = Api::on_gateway(&stack)?;
    server.check_runs(&stack, "older")?;
    for (script, arguments, release, previous) in [
        ("switch-release.sh", &["newer"][..], "newer", "older"),
        ("rollback.sh", &[], "older", "newer"),
    ] {
        nothing_failed(&server.run(&stack, script, arguments).await?)?;
        if release == "newer" && std::env::var_os("ROLLBACK_NEWER").is_none() {
            migrate_as_the_next_release(&stack).await?;
        }
        server.check_runs(&stack, release)?;
        ensure!(server.link("current")? == release && server.link("previous")? == previous);
        let linked = fs::read_link(server.root.path().join("usr-bin/gateway"))?;
        ensure!(linked == server.current().join("gateway"), "{}", linked.display());
        // It works with the schema that the newer one left: it says so itself, and it writes.
        for instance in ["stateless-1", "stateless-2"] {
            let ready = Api::on_instance(&stack, instance)?.get("/readyz").await?;
            ensure!(ready.status == 200, "{instance}: {ready}");
        }
        let account = json!({"username": format!("{release}-user"), "name": "Ada",
                             "password": "correct horse battery staple"});
        let registered = api.post("/api/v1/auth/register", &account).await?;
        ensure!(registered.status == 201, "{registered}");
    }
    // With the current release it goes on where a switch failed, and forgets no previous one.
    nothing_failed(&server.run(&stack, "switch-release.sh", &["older"]).await?)?;
    ensure!(server.link("current")? == "older" && server.link("previous")? == "newer");
    let login = json!({"username": "newer-user", "password": "correct horse battery staple"});
    let logged_in = api.post("/api/v1/auth/login", &login).await?;
    ensure!(logged_in.status == 200, "what the newer one wrote is there: {logged_in}");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_release_that_cannot_run_here_changes_nothing() -> Result<()> {
    let server = Server::prepare()?;
    let plan = small_stack().stateful(1).builds(Builds::in_dir(server.current()));
    let stack = plan.start().await?;
    let releases = server.root.path().join("releases");
    // One lacks a program, one knows less of the configuration.
    fs::create_dir(releases.join("incomplete"))?;
    fs::create_dir(releases.join("strict"))?;
    for program in ["stateless-svc", "stateful-svc"] {
        fs::hard_link(releases.join("older").join(program), releases.join("strict").join(program))?;
    }
    let strict = "#!/bin/sh\n[ \"$1\" = --version ] || { echo 'unknown key' >&2; exit 64; }\n";
    fs::write(releases.join("strict/gateway"), strict)?;
    fs::set_permissions(releases.join("strict/gateway"), fs::Permissions::from_mode(0o755))?;
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../server").join(name);
    for (name, argument, says) in [
        ("switch-release.sh", Some("missing"), "there is no release 'missing'"),
        ("switch-release.sh", Some("../older"), "there is no release"),
        ("switch-release.sh", Some("incomplete"), "does not run"),
        ("switch-release.sh", Some("strict"), "rejects"),
        ("rollback.sh", None, "no release was current before"),
    ] {
        let mut command = Command::new(script(name));
        let output = command.args(argument).envs(server.env(&stack)).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(says), "{argument:?}: {output:?}");
        ensure!(server.link("current")? == "older" && server.link("previous").is_err());
    }
    stack.shutdown().await;
    Ok(())
}
