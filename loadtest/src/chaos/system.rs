//! The system under test: a stack of its own that the faults are done to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use local_stack::{Ports, Stack};
use proto_contracts::PoolName;
use proto_contracts::agent::ComponentState;
use proto_contracts::control::Strategy;

use crate::chaos::plan::ChaosPlan;
use crate::client::Client;
use crate::request;
use crate::target::{Reach, Target};

/// Far longer than a recovery takes; it only bounds how long a broken system keeps the run waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short beside what is waited for.
const STEP: Duration = Duration::from_millis(20);
/// How often the gateway looks after its instances, as in `make up`.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// A running system, which ends with this.
pub(crate) struct System {
    stack: Stack,
}

impl System {
    /// Starts a stack on ports of its own.
    pub(crate) async fn start(plan: &ChaosPlan) -> Result<Self> {
        let stack = match &plan.keep {
            None => Stack::for_tests(),
            Some(dir) => {
                let dir = std::path::absolute(dir)?;
                Stack::kept_in(dir).stateless(1).extent(local_stack::Extent::Gateway).ports(Ports::reserve()?)
            }
        };
        let stack = stack.store(plan.store).stateful(plan.instances).health_interval(HEALTH_INTERVAL);
        Ok(Self { stack: stack.start().await.context("the system does not start")? })
    }

    /// Where the gateway takes requests.
    pub(crate) async fn target(&self) -> Result<Arc<Target>> {
        Ok(Arc::new(Target::resolve(&self.stack.urls().gateway, None, Reach::ThisMachine).await?))
    }

    /// The names of the stateful instances.
    pub(crate) fn instances(&self) -> Vec<String> {
        let status = self.stack.status().into_iter();
        status.filter(|component| component.pool == Some(PoolName::Stateful)).map(|component| component.name).collect()
    }

    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        self.stack.kill(name).await.with_context(|| format!("cannot kill {name}"))
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<()> {
        self.stack.stop(name).await.with_context(|| format!("cannot stop {name}"))
    }

    pub(crate) async fn start_again(&self, name: &str) -> Result<()> {
        self.stack.start_component(name).await.with_context(|| format!("cannot start {name} again"))
    }

    pub(crate) fn pause(&self, name: &str) -> Result<()> {
        self.stack.pause(name).with_context(|| format!("cannot pause {name}"))
    }

    pub(crate) fn resume(&self, name: &str) -> Result<()> {
        self.stack.resume(name).with_context(|| format!("cannot resume {name}"))
    }

    pub(crate) async fn scale(&self, instances: u16) -> Result<()> {
        let scaled = self.stack.scale(PoolName::Stateful, instances).await;
        scaled.with_context(|| format!("cannot scale to {instances} instances"))
    }

    pub(crate) async fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        let set = self.stack.control().set_strategy(PoolName::Stateful, strategy).await;
        set.with_context(|| format!("cannot switch to {strategy}"))
    }

    /// Waits until nothing is wrong any more: every component runs, the gateway finds every instance healthy, and each
    /// finds its dependencies.
    pub(crate) async fn settle(&self) -> Result<()> {
        let components = self.stack.status();
        for component in &components {
            let ComponentState::Running = component.state else {
                anyhow::bail!("{} is {} after its fault; its log: {}", component.name, component.state, component.log);
            };
        }
        let mut members = Vec::new();
        for component in components {
            if let Some(pool) = component.pool {
                members.push((pool, component.name.clone(), self.stack.addr_of(&component.name)?));
            }
        }
        self.stack.control().await_healthy(&members).await?;
        for (_, name, addr) in members {
            let target = Target::resolve(&format!("http://{addr}"), None, Reach::ThisMachine).await?;
            let mut client = Client::new(Arc::new(target));
            let begin = Instant::now();
            while !is_ready(&mut client).await {
                ensure!(begin.elapsed() < PATIENCE, "{name} is not ready again after {} s", PATIENCE.as_secs());
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(())
    }

    pub(crate) async fn shutdown(self) {
        self.stack.shutdown().await;
    }
}

async fn is_ready(client: &mut Client) -> bool {
    let answer = tokio::time::timeout(HEALTH_INTERVAL, client.send(request::get("/readyz"))).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == StatusCode::OK))
}
