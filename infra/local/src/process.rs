//! One child process. It cannot outlive its launcher.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

mod log;
mod shim;
mod spawner;
mod tree;

pub(crate) use log::{last_lines, rotate_logs};
pub(crate) use shim::ExecChild;
pub(crate) use tree::all as all_processes;

/// Limit for the processes of a killed tree to disappear.
const TREE_END: Duration = Duration::from_secs(5);
/// The variables that a child inherits. No others: a shell's `DATABASE_URL` must not leak in.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TZ", "TMPDIR", "LOG_LEVEL", "RUST_BACKTRACE"];

/// The user of a child that must not run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How to start a program.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    /// `None`: the launcher's user.
    pub(crate) run_as: Option<RunAs>,
    /// The kernel sends it when the launcher ends in any way. On it, a program with children must
    /// end them.
    pub(crate) death_signal: Signal,
    /// Starts a graceful stop.
    pub(crate) stop_signal: Signal,
    /// Receives standard output and standard error.
    pub(crate) log: PathBuf,
}

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// `None`: unknown.
    status: Option<ExitStatus>,
    pub(crate) at: Timestamp,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else { return f.write_str("exit status unknown") };
        match (status.code(), status.signal()) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "ended by {signal}"),
                Err(_) => write!(f, "ended by signal {number}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}

/// A running or ended child.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    stop_signal: Signal,
    pub(crate) started: Instant,
    /// Locked while a signal is sent and while the child is reaped, so that no signal reaches
    /// another process that reuses the id.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts the program through the shim, the `local-stack` binary.
    pub(crate) async fn start(shim: &std::path::Path, launch: &Launch) -> io::Result<Self> {
        let output = log::open(&launch.log)?;
        let mut command = Command::new(shim);
        command
            .arg("exec-child")
            .arg(format!("--parent={}", std::process::id()))
            .arg(format!("--death-signal={}", launch.death_signal as i32));
        if let Some(RunAs { uid, gid }) = launch.run_as {
            command.arg(format!("--uid={uid}")).arg(format!("--gid={gid}"));
        }
        command.arg("--").arg(&launch.program).args(&launch.args);
        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Our session, so that the kernel resumes a suspended child when we exit. Its own group, so
        // that Ctrl-C in the terminal reaches us alone.
        command.current_dir("/").process_group(0);

        let child = spawner::spawn(command).await?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let reaped = Arc::new(Mutex::new(false));
        let (report, exit) = watch::channel(None);
        let flag = Arc::clone(&reaped);
        thread::Builder::new()
            .name(format!("wait-{pid}"))
            .spawn(move || watch_child(child, pid, &flag, &report))?;
        Ok(Self { pid, stop_signal: launch.stop_signal, started: Instant::now(), reaped, exit })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&self) -> Option<Exit> {
        let mut exit = self.exit.clone();
        // The watching thread ends only after it has sent the exit.
        let _ = exit.wait_for(Option::is_some).await;
        *exit.borrow()
    }

    /// Stops it gracefully; after `timeout` it is killed, and the result is `None`.
    pub(crate) async fn stop(&self, timeout: Duration) -> Option<Exit> {
        self.signal(self.stop_signal);
        // A suspended process handles no signal.
        self.resume();
        if let Ok(exit) = tokio::time::timeout(timeout, self.ended()).await {
            return exit;
        }
        self.kill().await;
        None
    }

    /// Kills it and all its descendants, and waits until none is left.
    pub(crate) async fn kill(&self) {
        let descendants = self.kill_now();
        self.ended().await;
        wait_gone(&descendants, || tokio::time::sleep(Duration::from_millis(5))).await;
    }

    /// Like [`Process::kill`] without waiting; returns the descendants.
    pub(crate) fn kill_now(&self) -> Vec<Pid> {
        let descendants = tree::descendants(self.pid);
        // Itself first: a master process would restart its workers.
        self.signal(Signal::SIGKILL);
        for &pid in &descendants {
            let _ = kill(pid, Signal::SIGKILL);
        }
        descendants
    }

    /// Suspends it and its descendants.
    pub(crate) fn pause(&self) {
        self.signal_tree(Signal::SIGSTOP);
    }

    /// Resumes them.
    pub(crate) fn resume(&self) {
        self.signal_tree(Signal::SIGCONT);
    }

    fn signal_tree(&self, signal: Signal) {
        self.signal(signal);
        for pid in tree::descendants(self.pid) {
            let _ = kill(pid, signal);
        }
    }

    /// Sends a signal, unless it has ended.
    fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            // Cannot fail: the process exists until it is reaped.
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Process {
    /// Kills it: no other handle could.
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill_now();
        }
    }
}

/// Waits for the child on a thread, independent of any async runtime.
fn watch_child(
    mut child: Child,
    pid: Pid,
    reaped: &Mutex<bool>,
    report: &watch::Sender<Option<Exit>>,
) {
    // Waits without reaping: the id is not reused before the lock is held.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut reaped = lock(reaped);
    *reaped = true;
    let status = child.wait().ok();
    report.send_replace(Some(Exit { status, at: Timestamp::now() }));
}

/// Waits, with a bound, until none of these processes is left.
async fn wait_gone<F: Future>(descendants: &[Pid], mut pause: impl FnMut() -> F) {
    let begin = Instant::now();
    while descendants.iter().any(|&pid| tree::is_alive(pid)) && begin.elapsed() < TREE_END {
        pause().await;
    }
}

/// Locks a mutex whose data stays consistent when a holder panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
