//! The system under test: a stack that the run starts, or a running system.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use local_stack::{AgentClient, Control, Extent, Ports, ReplyCutter, SecondGateway, Stack};
use proto_contracts::agent::{Action, ComponentState, ComponentStatus};
use proto_contracts::control::Strategy;
use proto_contracts::{PoolName, Role};
use secrecy::ExposeSecret as _;

use crate::chaos::fault_kind::FaultKind;
use crate::chaos::plan::{ChaosPlan, Subject};
use crate::chaos::users::{self, User};
use crate::client::Client;
use crate::mistakes;
use crate::request;
use crate::target::{Reach, Target};

/// Far longer than a recovery takes; bounds the wait for a system that does not recover.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition.
const STEP: Duration = Duration::from_millis(20);
/// The gateway's health check interval, as in `make up`.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Size of the disk of the sessions' Redis for [`FaultKind::FullDisk`]: more than a run writes, and
/// quick to fill.
const DISK_MIB: u32 = 512;

/// Instances of the stateless service: a rolling restart needs two, since the gateway refuses to
/// drain the last one.
const STATELESS: u16 = 2;

/// Error for a fault in a [`System::Remote`]; the plan rejects such faults earlier.
const NOT_CONTROLLABLE: &str =
    "no fault can be injected into a system of which only the URL is known";

/// A running system.
pub(crate) enum System {
    /// A stack that this run starts and stops, and the proxy between its instances and Redis, if
    /// any.
    Own(Box<Stack>, Option<ReplyCutter>),
    /// A system that was running before the run, and stays running.
    Running {
        agent: AgentClient,
        control: Control,
        target: Arc<Target>,
        store: String,
        state: PathBuf,
    },
    /// A system of which only the URL is known; no fault can be injected.
    Remote(Arc<Target>),
}

impl System {
    /// Starts a stack on free ports, or connects to the running system.
    pub(crate) async fn find(plan: &ChaosPlan) -> Result<Self> {
        match &plan.subject {
            Subject::Own { store, instances, keep, broken } => {
                let stack = match keep {
                    None => Stack::for_tests(),
                    Some(dir) => Stack::kept_in(std::path::absolute(dir)?).ports(Ports::reserve()?),
                };
                let stack = stack
                    .extent(Extent::Edge)
                    .store(*store)
                    .stateful(*instances)
                    .stateless(STATELESS)
                    .health_interval(HEALTH_INTERVAL);
                let full_disk = plan.faults.contains(&FaultKind::FullDisk);
                let stack = if full_disk { stack.small_disk(DISK_MIB) } else { stack };
                let stack = broken.iter().fold(stack, |stack, guarantee| match guarantee.pool() {
                    // Ejection and retries would keep clients from the instance that violates its
                    // guarantee.
                    PoolName::Stateful => {
                        stack.without_guarantee(guarantee.as_str()).lenient_gateway()
                    }
                    PoolName::Stateless => stack.without_stateless_guarantee(guarantee.as_str()),
                });
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
            Subject::Remote { target, cacert } => Ok(Self::Remote(Arc::new(
                Target::resolve(target, Some(cacert), Reach::ThisMachine).await?,
            ))),
        }
    }

    /// The running system with this state folder, which listens at `target`.
    pub(crate) async fn running(target: &str, state: &Path) -> Result<Self> {
        let agent = AgentClient::of_running(&std::path::absolute(state)?)?;
        let status = agent.status().await?;
        let token = std::fs::read_to_string(&status.control_token_file);
        let token = token.with_context(|| format!("cannot read {}", status.control_token_file))?;
        let control = Control::at(&status.urls.control, token.trim().to_owned().into())?;
        let authority = target.starts_with("https:").then(|| Path::new(&status.ca_file));
        let target = Target::resolve(target, authority, Reach::ThisMachine).await?;
        let (target, state) = (Arc::new(target), state.to_owned());
        Ok(Self::Running { agent, control, target, store: status.store, state })
    }

    /// Where it receives requests.
    pub(crate) async fn target(&self) -> Result<Arc<Target>> {
        match self {
            Self::Own(stack, _) => Ok(Arc::new(
                Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?,
            )),
            Self::Running { target, .. } | Self::Remote(target) => Ok(Arc::clone(target)),
        }
    }

    /// Nginx in front of that, if [`target`](Self::target) bypasses it.
    pub(crate) async fn nginx(&self) -> Result<Option<Arc<Target>>> {
        let Self::Own(stack, _) = self else { return Ok(None) };
        let Some(https) = stack.urls().https else { return Ok(None) };
        let target = Target::resolve(&https, Some(&stack.ca_path()), Reach::ThisMachine).await?;
        Ok(Some(Arc::new(target)))
    }

    /// The instances of the stateless service, with their names.
    pub(crate) async fn stateless_instances(&self) -> Result<Vec<(String, Arc<Target>)>> {
        if let Self::Remote(_) = self {
            return Ok(Vec::new());
        }
        let mut instances = Vec::new();
        for component in self.components().await? {
            if component.pool == Some(PoolName::Stateless) {
                let url = format!("http://{}:{}", Ipv4Addr::LOCALHOST, component.port);
                let target = Target::resolve(&url, None, Reach::ThisMachine).await?;
                instances.push((component.name, Arc::new(target)));
            }
        }
        Ok(instances)
    }

    /// An admin: a user of the run who is granted the role, or the one that `make up` created.
    pub(crate) async fn admin(&self) -> Result<Option<Arc<User>>> {
        let target = self.target().await?;
        match self {
            Self::Own(stack, _) => {
                let grant = async |username: &str| Ok(stack.grant(username, Role::Admin).await?);
                users::admin(&target, grant).await.map(Some)
            }
            Self::Running { state, .. } => match local_stack::admin_of(state) {
                Some((username, password)) => {
                    let password = password.expose_secret().to_owned();
                    users::existing(&target, username, password).await.map(Some)
                }
                None => Ok(None),
            },
            Self::Remote(_) => Ok(None),
        }
    }

    /// Its session store.
    pub(crate) fn store(&self) -> &str {
        match self {
            Self::Own(stack, _) => stack.store().as_str(),
            Self::Running { store, .. } => store,
            Self::Remote(_) => "unknown",
        }
    }

    /// The names of a pool's instances.
    pub(crate) async fn instances(&self, pool: PoolName) -> Result<Vec<String>> {
        let instances = self.components().await?.into_iter();
        let instances = instances.filter(|component| component.pool == Some(pool));
        Ok(instances.map(|component| component.name).collect())
    }

    /// Performs an action on a component.
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
            Self::Remote(_) => bail!(NOT_CONTROLLABLE),
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
            Self::Remote(_) => bail!(NOT_CONTROLLABLE),
        };
        scaled.with_context(|| format!("cannot scale to {instances} instances"))
    }

    /// Switches the strategy of the stateful pool.
    pub(crate) async fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        let set = self.control()?.set_strategy(PoolName::Stateful, strategy).await;
        set.with_context(|| format!("cannot switch to {strategy}"))
    }

    /// Adds an instance of the stateless service to the stateful pool; fails if it is accepted.
    pub(crate) async fn add_wrong_instance(&self) -> Result<()> {
        let control = self.control()?;
        let stateless = control.pool(PoolName::Stateless).await?;
        let wrong = stateless.instances.first().context("there is no stateless instance")?.addr;
        mistakes::add_wrong_instance(control, wrong).await
    }

    /// Drains an instance twice; fails if the second drain ends the first.
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

    /// Frees the disk, and starts Redis, which exits if a write fails.
    pub(crate) async fn free_disk(&self, redis: &str) -> Result<()> {
        let stack = self.own("a disk to fill")?;
        stack.free_disk().context("cannot free the disk")?;
        // If its last write failed, Redis may still be about to exit.
        tokio::time::sleep(STEP).await;
        if stack.state_of(redis)? != ComponentState::Running {
            stack.start_component(redis).await.with_context(|| format!("cannot start {redis}"))?;
        }
        Ok(())
    }

    fn own(&self, what: &str) -> Result<&Stack> {
        let Self::Own(stack, _) = self else {
            bail!("only a stack that the run starts has {what}")
        };
        Ok(stack)
    }

    /// Reloads the gateway's configuration.
    pub(crate) async fn reload(&self) -> Result<()> {
        self.control()?
            .reload()
            .await
            .map(drop)
            .context("cannot reload the gateway's configuration")
    }

    /// From now on drops one in so many replies of Redis to session commands; 0 for none.
    pub(crate) fn cut_replies(&self, one_in: u64) -> Result<()> {
        let Self::Own(_, Some(cutter)) = self else {
            bail!("there is no proxy between this system and its Redis")
        };
        cutter.cut_every(one_in);
        Ok(())
    }

    /// Starts a second gateway, whose configuration lacks this instance.
    pub(crate) async fn second_gateway(&self, unknown: &str) -> Result<SecondGateway> {
        let stack = self.own("a second gateway")?;
        let known: Vec<_> = self
            .instances(PoolName::Stateful)
            .await?
            .into_iter()
            .filter(|name| name != unknown)
            .collect();
        stack.second_gateway(&known).await.context("the second gateway does not start")
    }

    /// Waits until every component runs, the gateway considers every instance healthy, and every
    /// instance is ready.
    pub(crate) async fn wait_until_recovered(&self) -> Result<()> {
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
                    begin.elapsed() < RECOVERY_TIMEOUT,
                    "{name} is not ready again after {} s",
                    RECOVERY_TIMEOUT.as_secs()
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
            Self::Running { .. } | Self::Remote(_) => {}
        }
    }

    fn control(&self) -> Result<&Control> {
        match self {
            Self::Own(stack, _) => Ok(stack.control()),
            Self::Running { control, .. } => Ok(control),
            Self::Remote(_) => bail!(NOT_CONTROLLABLE),
        }
    }

    async fn components(&self) -> Result<Vec<ComponentStatus>> {
        match self {
            Self::Own(stack, _) => Ok(stack.status()),
            Self::Running { agent, .. } => Ok(agent.status().await?.components),
            Self::Remote(_) => bail!(NOT_CONTROLLABLE),
        }
    }
}

async fn is_ready(client: &mut Client) -> bool {
    let response =
        tokio::time::timeout(HEALTH_INTERVAL, client.send(request::get("/readyz"))).await;
    response.is_ok_and(|response| response.is_ok_and(|response| response.status == StatusCode::OK))
}
