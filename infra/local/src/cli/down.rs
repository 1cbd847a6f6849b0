//! `down`: stops everything, whatever its state.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::show::print_line;
use crate::agent_client::AgentClient;
use crate::shared_memory;
use crate::supervisor::{self, SupervisorInfo};

/// Limit for a graceful stop of everything.
const GRACEFUL_TIMEOUT: Duration = Duration::from_secs(90);
/// Limit for a killed supervisor to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(state: &Path) -> Result<()> {
    let running = supervisor::find(state)?;
    let Some(SupervisorInfo { pid, agent }) = running else {
        remove_cache(state);
        return print_line("Not running.");
    };
    let pid = Pid::from_raw(pid);
    let result = match AgentClient::new(state, agent) {
        Ok(agent) => agent.shutdown().await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        print_line(format_args!(
            "The agent does not respond ({error:#}); sending SIGTERM to the supervisor (pid {pid})."
        ))?;
        kill(pid, Signal::SIGTERM)?;
    }
    if !ended(state, GRACEFUL_TIMEOUT).await? {
        print_line(format_args!(
            "The supervisor (pid {pid}) did not stop in time; killing it and its components."
        ))?;
        kill(pid, Signal::SIGKILL)?;
        if !ended(state, KILL_TIMEOUT).await? {
            bail!("the supervisor (pid {pid}) cannot be killed");
        }
    }
    remove_cache(state);
    print_line("Everything is stopped.")
}

/// Removes Nginx's cache, which a killed supervisor leaves in `/dev/shm`.
fn remove_cache(state: &Path) {
    if let Ok(state) = state.canonicalize() {
        shared_memory::remove_cache(&state);
    }
}

/// Waits until no supervisor holds the lock of the state folder; `false` on timeout.
async fn ended(state: &Path, timeout: Duration) -> Result<bool> {
    let begin = Instant::now();
    while supervisor::try_lock(state)?.is_none() {
        if begin.elapsed() > timeout {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}
