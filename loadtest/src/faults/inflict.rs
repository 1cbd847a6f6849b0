//! Injects a fault, and ends it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_stack::Stack;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::faults::table::{Case, Fault, Part};

/// A slow process is paused most of the time, so that each step takes it about half a second.
const STANDS: Duration = Duration::from_millis(450);
const RUNS: Duration = Duration::from_millis(50);
/// `maxmemory` of a full Redis: less than it uses already.
const FULL: &str = "1mb";

/// A fault that goes on.
pub(super) enum Inflicted {
    Killed(&'static str),
    Hung(&'static str),
    Slow(&'static str, watch::Sender<bool>, JoinHandle<()>),
    /// The URL of the Redis, and what it might use before.
    Full(String, String),
}

impl Inflicted {
    pub(super) async fn begin(stack: &Stack, case: &Case) -> Result<Self> {
        let component = case.part.component();
        match case.fault {
            Fault::Killed => {
                stack.kill(component).await?;
                Ok(Self::Killed(component))
            }
            Fault::Hung => {
                stack.pause(component)?;
                Ok(Self::Hung(component))
            }
            Fault::Slow => {
                let pid = Pid::from_raw(stack.pid_of(component)?.cast_signed());
                let (stop, stopped) = watch::channel(false);
                Ok(Self::Slow(component, stop, tokio::spawn(slow_down(pid, stopped))))
            }
            Fault::Full => {
                let url = match case.part {
                    Part::RedisCache => stack.redis_cache_url(),
                    _ => stack.redis_sessions_url(),
                };
                let before = swap_memory(&url, FULL).await?;
                Ok(Self::Full(url, before))
            }
        }
    }

    pub(super) async fn end(self, stack: &Stack) -> Result<()> {
        match self {
            Self::Killed(component) => Ok(stack.start_component(component).await?),
            Self::Hung(component) => Ok(stack.resume(component)?),
            Self::Slow(component, stop, slowing) => {
                stop.send_replace(true);
                slowing.await.context("the slow process was left as it is")?;
                // With the processes that it has started, whatever state they are in.
                Ok(stack.resume(component)?)
            }
            Self::Full(url, before) => swap_memory(&url, &before).await.map(drop),
        }
    }
}

/// Lets a process run for a tenth of the time.
async fn slow_down(pid: Pid, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        for (signal, pause) in [(Signal::SIGSTOP, STANDS), (Signal::SIGCONT, RUNS)] {
            // The process has ended. The probes show that as failures.
            if kill(pid, signal).is_err() {
                return;
            }
            let stop = stopped.wait_for(|stop| *stop);
            let _stopped_or_time_is_over = tokio::time::timeout(pause, stop).await;
        }
    }
}

/// Limits the memory of a Redis, and returns what the limit was.
async fn swap_memory(url: &str, limit: &str) -> Result<String> {
    let client = Arc::new(redis::Client::open(url).context("the URL of Redis")?);
    let mut connection =
        client.get_multiplexed_async_connection().await.context("cannot connect to Redis")?;
    let get: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query_async(&mut connection).await?;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec_async(&mut connection).await?;
    get.into_iter().nth(1).context("Redis does not say what it may use")
}
