//! A lesson as a process of its own: `loadtest lesson run NAME --steps`. Nothing that it does harms
//! the driver, and when the driver is killed, its input ends and it puts everything back.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::lesson::steps::{Guess, Step};

/// The most that is kept of what it writes to standard error, in bytes.
const MAX_WORDS: usize = 64 * 1024;
/// When one that was stopped, or wrote its last step, is killed. Starting an instance may take it a
/// minute.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(150);
/// Our own program, also after a build has replaced its file.
const PROGRAM: &str = "/proc/self/exe";

pub(super) struct LessonProcess {
    child: Child,
    /// `None` once it is stopped.
    input: Option<ChildStdin>,
    steps: Lines<BufReader<ChildStdout>>,
    words: JoinHandle<String>,
}

impl LessonProcess {
    /// Starts a lesson on the system of this state folder, or beside it.
    pub(super) fn start(name: &str, is_short: bool, state: &Path) -> io::Result<Self> {
        let mut args = vec![OsStr::new("run"), OsStr::new(name), OsStr::new("--steps")];
        args.extend(is_short.then_some(OsStr::new("--short")));
        let mut child = command(&args, state).spawn()?;
        let gone = || io::Error::other("a process without its streams");
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(gone)?;
        let errors = child.stderr.take().ok_or_else(gone)?;
        let words = tokio::spawn(async move {
            let (mut text, mut errors) = (Vec::new(), BufReader::new(errors));
            let mut kept = (&mut errors).take(MAX_WORDS as u64);
            let _broken = kept.read_to_end(&mut text).await;
            // It must not block on what nobody reads.
            let _rest = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, input, steps: BufReader::new(output).lines(), words })
    }

    /// The next step; `None` at the end. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Step> {
        loop {
            let line = self.steps.next_line().await.ok().flatten()?;
            match serde_json::from_str(&line) {
                Ok(step) => return Some(step),
                Err(error) => tracing::warn!(%error, "a lesson wrote something else than a step"),
            }
        }
    }

    /// Starts the measurement.
    pub(super) async fn guess(&mut self, guess: Option<String>) {
        let Some(input) = &mut self.input else { return };
        let mut line = serde_json::to_vec(&Guess { guess }).unwrap_or_default();
        line.push(b'\n');
        // One that has ended says why by itself.
        let _ended = input.write_all(&line).await;
    }

    /// Ends it: it puts everything back first.
    pub(super) fn stop(&mut self) {
        self.input = None;
    }

    /// Kills it. What it has not put back is put back by the next lesson.
    pub(super) fn kill(&mut self) {
        let _ended = self.child.start_kill();
    }

    /// Waits for its end; the status, and its last words.
    pub(super) async fn end(mut self) -> (io::Result<ExitStatus>, String) {
        drop((self.input, self.steps));
        let status = match timeout(KILL_TIMEOUT, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                let _ended = self.child.start_kill();
                self.child.wait().await
            }
        };
        let words = self.words.await.unwrap_or_default();
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        (status, last.trim_start_matches("loadtest: ").to_owned())
    }
}

/// Puts back what a killed lesson has left. Returns why it could not.
pub(super) async fn put_back(state: &Path) -> Result<(), String> {
    let mut command = command(&[OsStr::new("put-back")], state);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn command(args: &[&OsStr], state: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("lesson").args(args).arg("--state").arg(state);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It is no driver.
    command.env_remove("DRIVER_TOKEN").env_remove("DRIVER_TOKEN_FILE");
    command
}
