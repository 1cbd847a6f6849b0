//! A program that ends with this process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Limit for a graceful stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running program. It is stopped gracefully on drop.
pub(super) struct Child(std::process::Child);

impl Child {
    /// Starts the program through `local-stack`, so that it dies with this process. Call it on the
    /// main thread.
    pub(super) fn start(
        shim: &Path,
        program: &Path,
        args: &[impl AsRef<OsStr>],
        output: &Path,
        env: &[(&str, String)],
    ) -> Result<Self> {
        // Appended to, so that it can be emptied meanwhile.
        let file = File::options()
            .create(true)
            .append(true)
            .open(output)
            .with_context(|| format!("cannot write {}", output.display()))?;
        let child = Command::new(shim)
            .arg("exec-child")
            .arg(format!("--parent={}", std::process::id()))
            // A killed Nginx master would leave its workers behind.
            .arg(format!("--death-signal={}", Signal::SIGTERM as i32))
            .arg("--")
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        child.map(Self).with_context(|| format!("cannot start {}", program.display()))
    }

    /// Its process and its children.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .with_context(|| format!("process {pid} is gone"))?;
        Ok([pid]
            .into_iter()
            .chain(children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()))
            .collect())
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // Not reaped yet, so the id is not reused.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < STOP_TIMEOUT {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
