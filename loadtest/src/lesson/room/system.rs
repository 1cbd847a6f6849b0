//! The processes of a system, whoever started them.

use anyhow::{Context as _, Result, bail};
use local_stack::{AgentClient, Stack};
use proto_contracts::PoolName;
use proto_contracts::agent::{Action, ComponentStatus, Phase};

/// Commands that execute a script.
const SCRIPTS: [&str; 4] = ["eval", "evalsha", "fcall", "fcall_ro"];

/// The calls of a command, of Redis's `cmdstat_get:calls=3,usec=…`.
fn calls(stats: &str, command: &str) -> Option<u64> {
    let values = stats.lines().find_map(|line| {
        line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")
    })?;
    values.split(',').next()?.parse().ok()
}

/// The owner of a system's processes.
pub(crate) enum System {
    /// Started by the lessons, and stopped after them.
    Scratch(Box<Stack>),
    /// It was running before.
    Running(AgentClient),
}

impl System {
    pub(crate) async fn components(&self) -> Result<Vec<ComponentStatus>> {
        match self {
            Self::Scratch(stack) => Ok(stack.status()),
            Self::Running(agent) => Ok(agent.status().await?.components),
        }
    }

    /// Whether its owner is stopping it.
    pub(crate) async fn is_stopping(&self) -> bool {
        match self {
            Self::Scratch(_) => false,
            Self::Running(agent) => {
                agent.status().await.is_ok_and(|status| status.phase == Phase::Stopping)
            }
        }
    }

    /// Sets the number of instances, and waits until all are healthy.
    pub(crate) async fn scale(&self, pool: PoolName, instances: usize) -> Result<()> {
        let count = u16::try_from(instances)?;
        match self {
            Self::Scratch(stack) => stack.scale(pool, count).await?,
            Self::Running(agent) => drop(agent.scale(pool, count).await?),
        }
        Ok(())
    }

    /// Performs an action on a component.
    pub(crate) async fn act(&self, name: &str, action: Action) -> Result<()> {
        let done = match (self, action) {
            (Self::Running(agent), _) => agent.act(name, action).await.map(drop),
            (Self::Scratch(stack), Action::Kill) => stack.kill(name).await.map_err(Into::into),
            (Self::Scratch(stack), Action::Start) => {
                stack.start_component(name).await.map_err(Into::into)
            }
            (Self::Scratch(stack), Action::Pause) => stack.pause(name).map_err(Into::into),
            (Self::Scratch(stack), Action::Resume) => stack.resume(name).map_err(Into::into),
            (Self::Scratch(_), _) => bail!("no lesson does that"),
        };
        done.with_context(|| format!("cannot {} {name}", action.as_str()))
    }

    /// Scripts that the sessions' Redis has executed since its start.
    pub(crate) async fn scripts(&self) -> Result<u64> {
        let Self::Scratch(stack) = self else { bail!("only in a system of the lessons") };
        let client = redis::Client::open(stack.redis_sessions_url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let text: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
        Ok(SCRIPTS.iter().filter_map(|command| calls(&text, command)).sum())
    }
}
