//! One child process: started so that it cannot outlive its launcher, watched until it ends.

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

pub(crate) use log::{keep_small, last_lines};
pub(crate) use shim::ExecChild;
pub(crate) use tree::all as all_processes;

/// How long what is left of a killed tree may take to disappear.
const TREE_END: Duration = Duration::from_secs(5);
/// What a child inherits of our environment. Nothing else: a `DATABASE_URL` in somebody's shell is not ours.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TZ", "TMPDIR", "LOG_LEVEL", "RUST_BACKTRACE"];

/// A user to run a child as, when the launcher is root and the program refuses to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    /// `None`: as ourselves.
    pub(crate) run_as: Option<RunAs>,
    /// What the kernel sends it when the launcher ends in any way. A program with children of its own needs one that
    /// makes it end them.
    pub(crate) death_signal: Signal,
    /// What asks it to end in order.
    pub(crate) stop_signal: Signal,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// `None`: the kernel did not give it.
    status: Option<ExitStatus>,
    pub(crate) at: Timestamp,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else { return f.write_str("ended, and its exit status cannot be read") };
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
    /// Held while a signal is sent and while the child is reaped, so that no signal reaches a stranger who was given
    /// the id afterwards.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts the program by way of the shim, which is the `local-stack` binary.
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
        // Our session, so that the kernel continues a stopped child when we are gone, but its own group: Ctrl-C in our
        // terminal is for us.
        command.current_dir("/").process_group(0);

        let child = spawner::spawn(command).await?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let reaped = Arc::new(Mutex::new(false));
        let (report, exit) = watch::channel(None);
        let flag = Arc::clone(&reaped);
        thread::Builder::new().name(format!("wait-{pid}")).spawn(move || watch_child(child, pid, &flag, &report))?;
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
        // An error means that the watching thread is gone, which it is only after its report.
        let _ = exit.wait_for(Option::is_some).await;
        *exit.borrow()
    }

    /// Asks it to end and waits; after `patience` it is killed. `None`: it had to be.
    pub(crate) async fn stop(&self, patience: Duration) -> Option<Exit> {
        self.signal(self.stop_signal);
        // A paused one would not hear it.
        self.resume();
        if let Ok(exit) = tokio::time::timeout(patience, self.ended()).await {
            return exit;
        }
        self.kill().await;
        None
    }

    /// Kills it and every process that it has started, and waits until none is left.
    pub(crate) async fn kill(&self) {
        let family = self.kill_now();
        self.ended().await;
        wait_gone(&family, || tokio::time::sleep(Duration::from_millis(5))).await;
    }

    /// The same without waiting; returns the family that is to disappear.
    pub(crate) fn kill_now(&self) -> Vec<Pid> {
        let family = tree::descendants(self.pid);
        // Itself first: a master would start its workers anew.
        self.signal(Signal::SIGKILL);
        for &pid in &family {
            let _ = kill(pid, Signal::SIGKILL);
        }
        family
    }

    /// Stops it and what it has started where they stand.
    pub(crate) fn pause(&self) {
        self.signal_family(Signal::SIGSTOP);
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.signal_family(Signal::SIGCONT);
    }

    fn signal_family(&self, signal: Signal) {
        self.signal(signal);
        for pid in tree::descendants(self.pid) {
            let _ = kill(pid, signal);
        }
    }

    /// Sends a signal, unless it has ended.
    fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            // It exists until it is reaped, and it is ours: nothing can fail but the existence of the signal.
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Process {
    /// Nobody could end it any more.
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill_now();
        }
    }
}

/// Ends with the child, in a thread of its own: a wait that survives every runtime.
fn watch_child(mut child: Child, pid: Pid, reaped: &Mutex<bool>, report: &watch::Sender<Option<Exit>>) {
    // Waits without reaping, so that the id stays ours until the lock is held.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut reaped = lock(reaped);
    *reaped = true;
    let status = child.wait().ok();
    report.send_replace(Some(Exit { status, at: Timestamp::now() }));
}

/// Waits, with a bound, until none of these processes is left.
async fn wait_gone<F: Future>(family: &[Pid], mut pause: impl FnMut() -> F) {
    let begin = Instant::now();
    while family.iter().any(|&pid| tree::is_alive(pid)) && begin.elapsed() < TREE_END {
        pause().await;
    }
}

/// A lock whose data cannot be left half-changed, so that a panic elsewhere does no harm.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
