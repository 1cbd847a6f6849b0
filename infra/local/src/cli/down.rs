//! `down`: ends everything, whatever state it is in.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::show::say;
use crate::agent::client::AgentClient;
use crate::nginx;
use crate::supervisor::{self, Whereabouts};

/// How long everything may take to end in order.
const IN_ORDER: Duration = Duration::from_secs(90);
/// How long a killed supervisor may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

pub(super) async fn run(state: &Path) -> Result<()> {
    let running = supervisor::find(state)?;
    let Some(Whereabouts { pid, agent }) = running else {
        forget_cache(state);
        return say("Nothing runs.");
    };
    let pid = Pid::from_raw(pid);
    let asked = match AgentClient::new(state, agent) {
        Ok(agent) => agent.shutdown().await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = asked {
        say(format_args!("The agent does not respond ({error:#}); the supervisor (pid {pid}) is sent SIGTERM."))?;
        kill(pid, Signal::SIGTERM)?;
    }
    if !ended(state, IN_ORDER).await? {
        say(format_args!("The supervisor (pid {pid}) did not end; it is killed, and its components with it."))?;
        kill(pid, Signal::SIGKILL)?;
        if !ended(state, KILLED).await? {
            bail!("the supervisor (pid {pid}) cannot be ended");
        }
    }
    forget_cache(state);
    say("Everything has ended.")
}

/// What a supervisor that was killed has left in memory.
fn forget_cache(state: &Path) {
    if let Ok(state) = state.canonicalize() {
        nginx::forget_cache(&state);
    }
}

/// Waits until no supervisor has the state folder.
async fn ended(state: &Path, patience: Duration) -> Result<bool> {
    let begin = Instant::now();
    while supervisor::try_lock(state)?.is_none() {
        if begin.elapsed() > patience {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}
