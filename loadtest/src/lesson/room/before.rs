//! How a system was before the lessons, and how it becomes so again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use local_stack::Control;
use proto_contracts::PoolName;
use proto_contracts::agent::{Action, ComponentState, ComponentStatus};
use proto_contracts::control::{InstanceState, Pool, Strategy};
use serde::{Deserialize, Serialize};

use super::system::System;

/// Bounds the wait for instances that were healthy before.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two looks.
const STEP: Duration = Duration::from_millis(50);
/// Components that no lesson changes. The driver may be stopped while it runs one.
const OTHERS: [&str; 2] = ["driver", "prometheus"];

/// What lessons may change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) pools: BTreeMap<PoolName, PoolBefore>,
    components: BTreeMap<String, ComponentState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PoolBefore {
    strategy: Strategy,
    /// States by name.
    pub(crate) instances: BTreeMap<String, InstanceState>,
}

impl PoolBefore {
    fn of(pool: &Pool) -> Self {
        let named = pool.instances.iter().map(|instance| {
            let name = instance.name.as_ref().map(ToString::to_string);
            (name.unwrap_or_else(|| instance.addr.to_string()), instance.state)
        });
        Self { strategy: pool.strategy, instances: named.collect() }
    }

    /// Whether this is the pool again: an instance that was unhealthy may have recovered.
    fn is_again(&self, now: &Self) -> bool {
        self.strategy == now.strategy
            && self.instances.len() == now.instances.len()
            && self.instances.iter().all(|(name, before)| {
                now.instances.get(name).is_some_and(|now| is_state_again(*before, *now))
            })
    }
}

fn is_state_again(before: InstanceState, now: InstanceState) -> bool {
    let was_healthy = before == InstanceState::Healthy;
    is_drained(before) == is_drained(now) && (!was_healthy || now == InstanceState::Healthy)
}

const fn is_drained(state: InstanceState) -> bool {
    matches!(state, InstanceState::Draining | InstanceState::Drained)
}

impl Before {
    pub(crate) async fn of(system: &System, control: &Control) -> Result<Self> {
        let pools = control.pools().await?;
        let is_ours = |part: &ComponentStatus| !OTHERS.contains(&part.name.as_str());
        let components = system.components().await?.into_iter().filter(is_ours);
        Ok(Self {
            pools: pools.iter().map(|pool| (pool.name, PoolBefore::of(pool))).collect(),
            components: components.map(|part| (part.name, part.state)).collect(),
        })
    }

    fn is_again(&self, now: &Self) -> bool {
        let is_pool_again = |(name, before): (_, &PoolBefore)| {
            now.pools.get(name).is_some_and(|now| before.is_again(now))
        };
        self.components == now.components && self.pools.iter().all(is_pool_again)
    }

    /// Undoes every change: strategies switched back, components that were running are started,
    /// drains ended and pools scaled. A step that fails does not prevent the others. Of a system that
    /// is being stopped, none of that outlives it.
    ///
    /// # Errors
    /// Which steps failed, or what is not as before.
    pub(crate) async fn restore(&self, system: &System, control: &Control) -> Result<()> {
        if system.is_stopping().await {
            return Ok(());
        }
        let mut failures = Vec::new();
        let mut note = |outcome: Result<()>| {
            failures.extend(outcome.err().map(|error| format!("{error:#}")));
        };
        for (name, pool) in &self.pools {
            note(pool.switch(*name, control).await);
        }
        note(self.start(system).await);
        for (name, pool) in &self.pools {
            note(pool.undrain(*name, control).await);
            note(pool.scale(*name, system, control).await);
        }
        let begin = Instant::now();
        loop {
            let now = Self::of(system, control).await?;
            if self.is_again(&now) {
                return Ok(());
            }
            if begin.elapsed() > TIMEOUT || !failures.is_empty() {
                bail!("not as before: {now:?} was {self:?}; {}", failures.join("; "));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    async fn start(&self, system: &System) -> Result<()> {
        for now in system.components().await? {
            let was_running = self.components.get(&now.name) == Some(&ComponentState::Running);
            match now.state {
                ComponentState::Running => {}
                ComponentState::Paused if was_running => {
                    system.act(&now.name, Action::Resume).await?;
                }
                _ if was_running => system.act(&now.name, Action::Start).await?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl PoolBefore {
    async fn undrain(&self, pool: PoolName, control: &Control) -> Result<()> {
        for instance in control.pool(pool).await?.instances {
            let Some(name) = instance.name.as_ref().map(|name| name.as_str()) else { continue };
            let was_drained = self.instances.get(name).is_none_or(|state| is_drained(*state));
            if is_drained(instance.state) && !was_drained {
                control.undrain(pool, name).await?;
            }
        }
        Ok(())
    }

    async fn scale(&self, pool: PoolName, system: &System, control: &Control) -> Result<()> {
        let processes = system.components().await?;
        let processes = processes.iter().filter(|part| part.pool == Some(pool)).count();
        let members = control.pool(pool).await?.instances.len();
        if [processes, members].iter().any(|&count| count != self.instances.len()) {
            system.scale(pool, self.instances.len()).await?;
        }
        Ok(())
    }

    async fn switch(&self, pool: PoolName, control: &Control) -> Result<()> {
        if control.pool(pool).await?.strategy != self.strategy {
            control.set_strategy(pool, self.strategy).await?;
        }
        Ok(())
    }
}
