//! A folder that looks like a checkout in which `make up` has run, with its own running system.
//!
//! Everything but `.local` is a link to the repository, so the runbook's commands run unchanged.
//! Ports are shifted to free ones. `make` does not build, since the binaries under test are already
//! built.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use local_stack::{Builds, FreeOffset, find_program};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

/// Programs that run with more options: `make` skips the build, and `redis-cli` returns an exit
/// status on errors.
const WRAPPED: [(&str, &str); 2] =
    [("make", "-o build -o build-up -o packages"), ("redis-cli", "-e")];
/// The default ports, which are shifted in every command.
const PORTS: std::ops::RangeInclusive<u32> = 8000..=8499;
/// Limit for a command.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a command runs that only ends when it is interrupted.
const WATCHED: Duration = Duration::from_millis(1500);

/// The folder and its system. Both are removed on drop.
pub(super) struct Checkout {
    folder: tempfile::TempDir,
    offset: FreeOffset,
    local_stack: PathBuf,
    /// `export` commands so far: the operator's shell.
    exports: String,
}

/// How a command ended.
pub(super) enum CommandOutcome {
    Success,
    Failure(String),
}

impl Checkout {
    /// Links the repository and starts a system.
    pub(super) async fn start(repository: &Path) -> Result<Self> {
        let builds = Builds::beside_current_exe()?;
        let local_stack = builds.binary("local-stack")?;
        let folder = tempfile::Builder::new().prefix("tandem-runbook-").tempdir()?;
        for entry in fs::read_dir(repository)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != ".local" && name != "target" && name != ".git" {
                symlink(entry.path(), folder.path().join(name))?;
            }
        }
        // `make` finds the tested binaries here, whatever their profile.
        fs::create_dir(folder.path().join("target"))?;
        symlink(builds.dir(), folder.path().join("target/release"))?;
        let bin = folder.path().join("target/wrapped");
        fs::create_dir(&bin)?;
        for (program, options) in WRAPPED {
            let file = bin.join(program);
            let found =
                find_program(program).with_context(|| format!("{program} is not installed"))?;
            fs::write(&file, format!("#!/bin/sh\nexec {} {options} \"$@\"\n", found.display()))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let checkout =
            Self { folder, offset: FreeOffset::find()?, local_stack, exports: String::new() };
        let offset = format!("--port-offset={}", checkout.offset.get());
        let up = checkout
            .local_stack(&[
                "up",
                "--stateless=2",
                "--stateful=3",
                "--gateways=2",
                "--driver",
                &offset,
            ])
            .await?;
        ensure!(
            up.status.success(),
            "the system does not start: {}{}",
            String::from_utf8_lossy(&up.stdout),
            String::from_utf8_lossy(&up.stderr)
        );
        Ok(checkout)
    }

    /// The state folder of the system.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join(".local")
    }

    /// Runs a command as an operator would, in a new shell, after the `export` commands so far.
    pub(super) async fn run(&mut self, command: &str) -> Result<CommandOutcome> {
        let shifted = shifted(command, self.offset.get());
        let mut child = Command::new("bash");
        child.arg("-c").arg(format!("{}{shifted}", self.exports)).current_dir(self.folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        child
            .env("PATH", format!("{}:{path}", self.folder.path().join("target/wrapped").display()));
        // Set if `make` runs this program.
        for variable in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PROFILE"] {
            child.env_remove(variable);
        }
        child
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = child.spawn().context("cannot run bash")?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let limit = if is_endless(command) { WATCHED } else { LIMIT };
        let mut output = Box::pin(child.wait_with_output());
        let ended = match tokio::time::timeout(limit, &mut output).await {
            Ok(output) => outcome(&output?),
            Err(_elapsed) => {
                if let Some(group) = group {
                    killpg(group, Signal::SIGTERM).context("cannot end the command")?;
                }
                let output =
                    tokio::time::timeout(LIMIT, output).await.context("it ignored SIGTERM")??;
                if is_endless(command) {
                    CommandOutcome::Success
                } else {
                    CommandOutcome::Failure(format!(
                        "still running after {LIMIT:?}: {}",
                        tail(&output)
                    ))
                }
            }
        };
        if command.starts_with("export ") {
            self.exports += &format!("{shifted}\n");
        }
        Ok(ended)
    }

    async fn local_stack(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.local_stack);
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command.output().await.context("cannot run local-stack")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let state = self.state();
        let down = std::process::Command::new(&self.local_stack)
            .arg("--state")
            .arg(&state)
            .arg("down")
            .output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("cannot stop the system in {}", state.display());
        }
        // PostgreSQL's folder is outside the state folder.
        if let Ok(shared) = fs::read_to_string(state.join("shared")) {
            let _may_be_gone = fs::remove_dir_all(shared.trim());
        }
    }
}

/// Whether the command runs until it is interrupted, like `top` and `events`.
fn is_endless(command: &str) -> bool {
    let follows = ["events", "top", "f=1"].iter().any(|word| {
        command.split([' ', '=', '\'', '"']).any(|part| part == *word) || command.ends_with(word)
    });
    follows && !command.contains("--once")
}

fn outcome(output: &Output) -> CommandOutcome {
    if output.status.success() {
        return CommandOutcome::Success;
    }
    CommandOutcome::Failure(format!("{}: {}", status(output.status), tail(output)))
}

fn status(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// The last lines of the output.
fn tail(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

/// The command with each default port shifted.
fn shifted(command: &str, offset: u16) -> String {
    let mut shifted = String::new();
    let mut rest = command;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let end =
            rest[at..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| at + length);
        let (before, number) = (&rest[..at], &rest[at..end]);
        shifted += before;
        let is_isolated = !before.ends_with(|c: char| c.is_alphanumeric())
            && !rest[end..].starts_with(|c: char| c.is_alphanumeric());
        match number.parse::<u32>() {
            Ok(port) if is_isolated && number.len() == 4 && PORTS.contains(&port) => {
                shifted += &(port + u32::from(offset)).to_string();
            }
            _ => shifted += number,
        }
        rest = &rest[end..];
    }
    shifted + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_shifted_and_other_numbers_are_not() {
        let command = "curl -d '{\"deadline_s\":30}' http://127.0.0.1:8001/x; redis-cli -p 8379 \
                       a8001 00008001 3000";
        let expected = "curl -d '{\"deadline_s\":30}' http://127.0.0.1:9501/x; redis-cli -p 9879 \
                        a8001 00008001 3000";
        assert_eq!(shifted(command, 1500), expected);
    }

    #[test]
    fn endless_commands_are_recognized() {
        for endless in [
            "make ctl args=events",
            "make ctl args='events --types drained'",
            "gateway ctl top",
            "make logs i=x f=1",
        ] {
            assert!(is_endless(endless), "{endless}");
        }
        for ends in ["make ctl args='top --once'", "make stop i=gateway", "make ctl args=pools"] {
            assert!(!is_endless(ends), "{ends}");
        }
    }
}
