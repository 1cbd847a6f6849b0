//! A system that lessons run on. What they change is undone by `put_back`.

mod before;
pub(crate) mod journal;
mod system;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::{AgentClient, Control, Stack, Store};
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::{InstanceState, Strategy};

use crate::lesson::room::before::Before;
use crate::lesson::room::journal::{Journal, Left};
use crate::lesson::room::system::System;
use crate::lesson::stop::Stop;
use crate::lesson::visitor::Visitor;
use crate::target::{Reach, Target};

/// Instances of each service in a system that lessons start.
const INSTANCES: u16 = 3;

/// Interval of the health checks of a patient gateway; it takes three of them to eject an instance.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bounds the wait for an instance that does not reach its store again.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds the wait for requests to be in flight. Then the suspended instances are still members.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between two checks of a condition.
const STEP: Duration = Duration::from_millis(50);

/// A system with its state before the first lesson.
pub(crate) struct Room {
    system: System,
    control: Control,
    target: Arc<Target>,
    store: String,
    before: Before,
    /// For the running system.
    journal: Option<Journal>,
    /// Paths of sessions that lessons created.
    sessions: RefCell<Vec<String>>,
    stop: Stop,
}

impl Room {
    /// The running system, if one runs with this state folder. What a killed lesson has left there
    /// is put back first.
    ///
    /// # Errors
    /// When another lesson runs on it, or it is not as before that lesson.
    pub(crate) async fn running(state: &Path, stop: Stop) -> Result<Option<Self>> {
        let state = std::path::absolute(state)?;
        let Ok(agent) = AgentClient::of_running(&state) else {
            return Ok(None);
        };
        let journal = Journal::wait_for(&state).await?;
        let status = agent.status().await?;
        let token = std::fs::read_to_string(&status.control_token_file)
            .with_context(|| format!("cannot read {}", status.control_token_file))?;
        let control = Control::at(&status.urls.control, token.trim().to_owned().into())?;
        let url = status.urls.gateway.clone();
        let ca_file = PathBuf::from(&status.ca_file);
        let cacert = url.starts_with("https:").then_some(&*ca_file);
        let supervisor = agent.supervisor();
        let system = System::Running(agent);
        if let Some(left) = journal.left()? {
            // A system that was started since is as its plan says.
            if left.supervisor == supervisor {
                let put_back = left.before.restore(&system, &control).await;
                put_back.context("cannot put back what an earlier lesson has left")?;
            }
            journal.clear()?;
        }
        let mut room = Self::new(system, control, (&url, cacert), status.store, stop).await?;
        room.journal = Some(journal);
        Ok(Some(room))
    }

    /// Called before the first change of each lesson: what is on disk then survives the lesson.
    pub(crate) fn begin(&self) -> Result<()> {
        let (Some(journal), System::Running(agent)) = (&self.journal, &self.system) else {
            return Ok(());
        };
        let supervisor = agent.supervisor();
        journal.write(&Left { supervisor, before: self.before.clone() })
    }

    /// A system with this store that the lessons start. A patient gateway waits for suspended
    /// instances, and takes longer to see that one is gone.
    pub(crate) async fn scratch(store: Store, is_patient: bool, stop: Stop) -> Result<Self> {
        let mut plan = Stack::for_tests().store(store).stateless(INSTANCES).stateful(INSTANCES);
        if is_patient {
            plan = plan.lenient_gateway().health_interval(PATIENCE);
        }
        let stack = plan.open_lab().start().await.context("the system does not start")?;
        let (control, url) = (stack.control().clone(), stack.urls().gateway.clone());
        let store = store.as_str().to_owned();
        Self::new(System::Scratch(Box::new(stack)), control, (&url, None), store, stop).await
    }

    async fn new(
        system: System,
        control: Control,
        (url, cacert): (&str, Option<&Path>),
        store: String,
        stop: Stop,
    ) -> Result<Self> {
        let target = Arc::new(Target::resolve(url, cacert, Reach::ThisMachine).await?);
        let before = Before::of(&system, &control).await?;
        let sessions = RefCell::default();
        Ok(Self { system, control, target, store, before, journal: None, sessions, stop })
    }

    /// Whether it runs since before the lessons, and its store.
    pub(crate) fn title(&self) -> String {
        match &self.system {
            System::Scratch(_) => format!("its own system, {} store", self.store),
            System::Running(_) => format!("the running system, {} store", self.store),
        }
    }

    /// Whether a lesson that needs this store (`None`: any that shares sessions) can run here, with
    /// at least two healthy instances of each service.
    pub(crate) fn offers(&self, store: Option<Store>) -> bool {
        let has_store = match store {
            Some(store) => self.store == store.as_str(),
            None => self.store != Store::Memory.as_str(),
        };
        let is_healthy = |state: &&InstanceState| **state == InstanceState::Healthy;
        let mut pools = self.before.pools.values();
        has_store && pools.all(|pool| pool.instances.values().filter(is_healthy).count() >= 2)
    }

    /// A client that was never here.
    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::new(&self.target, self.stop.clone())
    }

    /// New clients, each with a session; the instances that created these. The gateway mints their
    /// keys, so that instances with few sessions get more of them.
    pub(crate) async fn visitors(&self, count: usize) -> Result<Vec<(Visitor, String)>> {
        let mut visitors = Vec::with_capacity(count);
        for _ in 0..count {
            visitors.push(self.with_session(self.visitor()).await?);
        }
        Ok(visitors)
    }

    /// Clients that have random keys from earlier visits, each with a session; the instances that
    /// created these. The homes of such keys are those of the hash alone.
    pub(crate) async fn returning(&self, count: usize) -> Result<Vec<(Visitor, String)>> {
        let mut visitors = Vec::with_capacity(count);
        for _ in 0..count {
            let mut visitor = self.visitor();
            visitor.bring_cookie()?;
            visitors.push(self.with_session(visitor).await?);
        }
        Ok(visitors)
    }

    /// One of those from this address.
    pub(crate) async fn returning_from(&self, address: &str) -> Result<(Visitor, String)> {
        let mut visitor = self.visitor();
        visitor.bring_cookie()?;
        visitor.come_from(address)?;
        self.with_session(visitor).await
    }

    /// The client with a session, and the instance that created it.
    pub(crate) async fn with_session(&self, mut visitor: Visitor) -> Result<(Visitor, String)> {
        let created = visitor.create().await?;
        self.sessions.borrow_mut().extend(visitor.path());
        ensure!(!created.served_by.is_empty(), "the gateway hides X-Served-By");
        Ok((visitor, created.served_by))
    }

    /// Waits until every instance of the stateful service reaches its store.
    pub(crate) async fn await_ready(&self) -> Result<()> {
        for component in self.system.components().await? {
            if component.pool != Some(PoolName::Stateful) {
                continue;
            }
            let url = format!("http://127.0.0.1:{}", component.port);
            let target = Arc::new(Target::resolve(&url, None, Reach::ThisMachine).await?);
            let begin = Instant::now();
            while !Visitor::new(&target, self.stop.clone()).is_ready().await {
                self.stop.check()?;
                ensure!(begin.elapsed() < READY_TIMEOUT, "{} is not ready", component.name);
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(())
    }

    /// The names of a pool's members.
    pub(crate) async fn instances(&self, pool: PoolName) -> Result<Vec<String>> {
        let members = self.control.pool(pool).await?.instances.into_iter();
        let members = members.filter(|instance| instance.state == InstanceState::Healthy);
        Ok(members.filter_map(|instance| Some(instance.name?.to_string())).collect())
    }

    /// Waits until the gateway has this many requests in flight in a pool.
    pub(crate) async fn await_in_flight(&self, pool: PoolName, count: u64) -> Result<()> {
        let begin = Instant::now();
        loop {
            let instances = self.control.pool(pool).await?.instances;
            let in_flight = instances.iter().map(|instance| instance.in_flight).sum::<u64>();
            if in_flight >= count {
                return Ok(());
            }
            self.stop.check()?;
            ensure!(begin.elapsed() < IN_FLIGHT_TIMEOUT, "{in_flight} of {count} are in flight");
            tokio::time::sleep(STEP).await;
        }
    }

    /// Scripts that the sessions' Redis has executed. Only in a system of the lessons.
    pub(crate) async fn lookups(&self) -> Result<u64> {
        self.system.scripts().await
    }

    /// Switches the strategy of a pool.
    pub(crate) async fn set_strategy(&self, pool: PoolName, strategy: Strategy) -> Result<()> {
        self.stop.check()?;
        let set = self.control.set_strategy(pool, strategy).await;
        set.with_context(|| format!("cannot switch the {pool} pool to {strategy}"))
    }

    /// Drains an instance.
    pub(crate) async fn drain(&self, pool: PoolName, name: &str, deadline_s: u64) -> Result<()> {
        self.stop.check()?;
        self.control.drain(pool, name, deadline_s).await?;
        Ok(())
    }

    /// Sets the number of instances, and waits until all are healthy.
    pub(crate) async fn scale(&self, pool: PoolName, instances: usize) -> Result<()> {
        self.stop.check()?;
        self.system.scale(pool, instances).await
    }

    /// Performs an action on a component. What ends an outage is done in any case.
    pub(crate) async fn act(&self, name: &str, action: Action) -> Result<()> {
        if !matches!(action, Action::Start | Action::Resume) {
            self.stop.check()?;
        }
        self.system.act(name, action).await
    }

    /// Undoes every change, and deletes the lessons' sessions.
    ///
    /// # Errors
    /// What could not be put back.
    pub(crate) async fn put_back(&self) -> Result<()> {
        self.before.restore(&self.system, &self.control).await?;
        if let Some(journal) = &self.journal {
            journal.clear()?;
        }
        let mut cleaner = Visitor::new(&self.target, Stop::never());
        for path in self.sessions.take() {
            let status = cleaner.delete(&path).await?.status;
            // A session in the memory of an instance that was killed does not exist any more.
            ensure!(matches!(status, 204 | 404), "a session was not deleted: {status}");
        }
        Ok(())
    }

    /// Stops it, if the lessons started it.
    pub(crate) async fn leave(self) {
        match self.system {
            System::Scratch(stack) => stack.shutdown().await,
            System::Running(_) => {}
        }
    }
}
