//! The system that the faults are done to: a stack of its own, or one that runs already.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use local_stack::{AgentClient, Control, Extent, Ports, ReplyCutter, SecondGateway, Stack};
use proto_contracts::PoolName;
use proto_contracts::agent::{Action, ComponentState, ComponentStatus};
use proto_contracts::control::Strategy;

use crate::chaos::fault_kind::FaultKind;
use crate::chaos::plan::{ChaosPlan, Subject};
use crate::client::Client;
use crate::mistakes;
use crate::request;
use crate::target::{Reach, Target};

/// Far longer than a recovery takes; it only bounds how long a broken system keeps the run waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short beside what is waited for.
const STEP: Duration = Duration::from_millis(20);
/// The gateway's health check interval, as in `make up`.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// The disk of the sessions' Redis where it is to be full: more than a run writes, and quick to
/// fill.
const DISK_MIB: u32 = 512;

/// Instances of the stateless service: the gateway refuses to drain the only one, and so to roll
/// it.
const STATELESS: u16 = 2;

/// Error for a fault on such a system. The plan rejects such faults before.
const UNTOUCHABLE: &str = "nothing can be done to a system that is known by its address alone";

/// A system that runs.
pub(crate) enum System {
    /// A stack that this run starts and stops, and the proxy between its instances and Redis, if
    /// any.
    Own(Box<Stack>, Option<ReplyCutter>),
    /// A system that was running before, and is left running.
    Running { agent: AgentClient, control: Control, target: Arc<Target>, store: String },
    /// A system that only accepts requests; no fault can be injected.
    Elsewhere(Arc<Target>),
}

impl System {
    /// Starts a stack on ports of its own, or finds the one that runs.
    pub(crate) async fn find(plan: &ChaosPlan) -> Result<Self> {
        match &plan.subject {
            Subject::Own { store, instances, keep, broken } => {
                let stack = match keep {
                    None => Stack::for_tests(),
                    Some(dir) => {
                        let kept =
                            Stack::kept_in(std::path::absolute(dir)?).extent(Extent::Gateway);
                        kept.ports(Ports::reserve()?)
                    }
                };
                let stack = stack
                    .store(*store)
                    .stateful(*instances)
                    .stateless(STATELESS)
                    .health_interval(HEALTH_INTERVAL);
                let full_disk = plan.faults.contains(&FaultKind::FullDisk);
                let stack = if full_disk { stack.small_disk(DISK_MIB) } else { stack };
                let stack = match broken {
                    None => stack,
                    // Ejection and retries would keep clients from the instance that breaks its
                    // promise.
                    Some(guarantee) => {
                        stack.without_guarantee(guarantee.as_str()).lenient_gateway()
                    }
                };
                let (stack, cutter) = if plan.faults.contains(&FaultKind::CutReply) {
                    let (stack, cutter) = stack.cut_replies()?;
                    (stack, Some(cutter))
                } else {
                    (stack, None)
                };
                Ok(Self::Own(
                    Box::new(stack.start().await.context("the system does not start")?),
                    cutter,
                ))
            }
            Subject::Running { target, state } => Self::running(target, state).await,
            Subject::Elsewhere { target, cacert } => Ok(Self::Elsewhere(Arc::new(
                Target::resolve(target, Some(cacert), Reach::ThisMachine).await?,
            ))),
        }
    }

    /// The system that runs on this state folder and listens at `target`.
    pub(crate) async fn running(target: &str, state: &Path) -> Result<Self> {
        let agent = AgentClient::of_running(&std::path::absolute(state)?)?;
        let status = agent.status().await?;
        let token = std::fs::read_to_string(&status.control_token_file);
        let token = token.with_context(|| format!("cannot read {}", status.control_token_file))?;
        let control = Control::at(&status.urls.control, token.trim().to_owned().into())?;
        let authority = target.starts_with("https:").then(|| Path::new(&status.ca_file));
        let target = Target::resolve(target, authority, Reach::ThisMachine).await?;
        Ok(Self::Running { agent, control, target: Arc::new(target), store: status.store })
    }

    /// Where it takes requests.
    pub(crate) async fn target(&self) -> Result<Arc<Target>> {
        match self {
            Self::Own(stack, _) => Ok(Arc::new(
                Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?,
            )),
            Self::Running { target, .. } | Self::Elsewhere(target) => Ok(Arc::clone(target)),
        }
    }

    /// Where it keeps its sessions.
    pub(crate) fn store(&self) -> &str {
        match self {
            Self::Own(stack, _) => stack.store().as_str(),
            Self::Running { store, .. } => store,
            Self::Elsewhere(_) => "unknown",
        }
    }

    /// The names of a pool's instances.
    pub(crate) async fn instances(&self, pool: PoolName) -> Result<Vec<String>> {
        let instances = self.components().await?.into_iter();
        let instances = instances.filter(|component| component.pool == Some(pool));
        Ok(instances.map(|component| component.name).collect())
    }

    /// Does something to a component.
    pub(crate) async fn act(&self, name: &str, action: Action) -> Result<()> {
        let done = match self {
            Self::Own(stack, _) => {
                let done = match action {
                    Action::Kill => stack.kill(name).await,
                    Action::Stop => stack.stop(name).await,
                    Action::Start => stack.start_component(name).await,
                    Action::Pause => stack.pause(name),
                    Action::Resume => stack.resume(name),
                    Action::Roll => stack.roll(name).await,
                    Action::Upgrade => stack.upgrade(name).await,
                };
                done.map_err(Into::into)
            }
            Self::Running { agent, .. } => agent.act(name, action).await.map(drop),
            Self::Elsewhere(_) => bail!(UNTOUCHABLE),
        };
        done.with_context(|| format!("cannot {} {name}", action.as_str()))
    }

    /// Sets the number of stateful instances.
    pub(crate) async fn scale(&self, instances: u16) -> Result<()> {
        let scaled = match self {
            Self::Own(stack, _) => {
                stack.scale(PoolName::Stateful, instances).await.map_err(Into::into)
            }
            Self::Running { agent, .. } => {
                agent.scale(PoolName::Stateful, instances).await.map(drop)
            }
            Self::Elsewhere(_) => bail!(UNTOUCHABLE),
        };
        scaled.with_context(|| format!("cannot scale to {instances} instances"))
    }

    /// Sets how the stateful pool is routed.
    pub(crate) async fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        let set = self.control()?.set_strategy(PoolName::Stateful, strategy).await;
        set.with_context(|| format!("cannot switch to {strategy}"))
    }

    /// Adds an instance of the stateless service to the stateful pool, which must refuse it.
    pub(crate) async fn add_wrong_instance(&self) -> Result<()> {
        let control = self.control()?;
        let stateless = control.pool(PoolName::Stateless).await?;
        let wrong = stateless.instances.first().context("there is no stateless instance")?.addr;
        mistakes::add_wrong_instance(control, wrong).await
    }

    /// Drains an instance twice, which must not revive it.
    pub(crate) async fn drain_again(&self, name: &str) -> Result<()> {
        mistakes::drain_again(self.control()?, name).await
    }

    /// Ends its drain.
    pub(crate) async fn undrain(&self, name: &str) -> Result<()> {
        mistakes::undrain(self.control()?, name).await
    }

    /// Fills the disk of the sessions' Redis.
    pub(crate) fn fill_disk(&self) -> Result<()> {
        self.own("a disk to fill")?.fill_disk().context("cannot fill the disk")
    }

    /// Makes room on it, and starts Redis, which has ended itself if it was written to.
    pub(crate) async fn free_disk(&self, redis: &str) -> Result<()> {
        let stack = self.own("a disk to fill")?;
        stack.free_disk().context("cannot make room on the disk")?;
        // If its last write failed, Redis may still be about to exit.
        tokio::time::sleep(STEP).await;
        if stack.state_of(redis)? != ComponentState::Running {
            stack.start_component(redis).await.with_context(|| format!("cannot start {redis}"))?;
        }
        Ok(())
    }

    fn own(&self, what: &str) -> Result<&Stack> {
        let Self::Own(stack, _) = self else { bail!("only a system of one's own can have {what}") };
        Ok(stack)
    }

    /// Has the gateway read its configuration again.
    pub(crate) async fn reload(&self) -> Result<()> {
        self.control()?
            .reload()
            .await
            .map(drop)
            .context("cannot reload the gateway's configuration")
    }

    /// Loses one in so many replies of Redis to acts on sessions from now on; 0 for none.
    pub(crate) fn cut_replies(&self, one_in: u64) -> Result<()> {
        let Self::Own(_, Some(cutter)) = self else {
            bail!("nothing stands between this system and its Redis")
        };
        cutter.cut_every(one_in);
        Ok(())
    }

    /// Starts a second gateway, which does not know this instance.
    pub(crate) async fn second_gateway(&self, unknown: &str) -> Result<SecondGateway> {
        let stack = self.own("a second gateway")?;
        let known: Vec<_> = self
            .instances(PoolName::Stateful)
            .await?
            .into_iter()
            .filter(|name| name != unknown)
            .collect();
        stack.second_gateway(&known).await.context("a second gateway does not start")
    }

    /// Waits until nothing is wrong any more: every component runs, the gateway finds every
    /// instance healthy, and each finds its dependencies.
    pub(crate) async fn settle(&self) -> Result<()> {
        let components = self.components().await?;
        for component in &components {
            let ComponentStatus { name, state, log, .. } = component;
            ensure!(
                *state == ComponentState::Running,
                "{name} is {state} after a fault; its log: {log}"
            );
        }
        let member = |component: ComponentStatus| {
            Some((
                component.pool?,
                component.name,
                SocketAddr::from((Ipv4Addr::LOCALHOST, component.port)),
            ))
        };
        let members: Vec<_> = components.into_iter().filter_map(member).collect();
        self.control()?.await_healthy(&members).await?;
        for (_, name, addr) in members {
            let target =
                Target::resolve(&format!("http://{addr}"), None, Reach::ThisMachine).await?;
            let mut client = Client::new(Arc::new(target));
            let begin = Instant::now();
            while !is_ready(&mut client).await {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "{name} is not ready again after {} s",
                    PATIENCE.as_secs()
                );
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(())
    }

    /// Stops the system, if this run started it.
    pub(crate) async fn leave(self) {
        match self {
            Self::Own(stack, _) => stack.shutdown().await,
            Self::Running { .. } | Self::Elsewhere(_) => {}
        }
    }

    fn control(&self) -> Result<&Control> {
        match self {
            Self::Own(stack, _) => Ok(stack.control()),
            Self::Running { control, .. } => Ok(control),
            Self::Elsewhere(_) => bail!(UNTOUCHABLE),
        }
    }

    async fn components(&self) -> Result<Vec<ComponentStatus>> {
        match self {
            Self::Own(stack, _) => Ok(stack.status()),
            Self::Running { agent, .. } => Ok(agent.status().await?.components),
            Self::Elsewhere(_) => bail!(UNTOUCHABLE),
        }
    }
}

async fn is_ready(client: &mut Client) -> bool {
    let answer = tokio::time::timeout(HEALTH_INTERVAL, client.send(request::get("/readyz"))).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == StatusCode::OK))
}
