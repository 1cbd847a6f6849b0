//! A running stack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use proto_contracts::PoolName;
use tokio::task::JoinHandle;

use crate::component::Component;
use crate::error::StackError;
use crate::exporters;
use crate::gateway::{self, Control};
use crate::nginx;
use crate::plan::{Extent, Gateways, Plan, Settings};
use crate::ports::{self, loopback};
use crate::process::keep_small;
use crate::redis;
use crate::small_disk::SmallDisk;
use parts::{Part, Wanted};

mod keeper;
mod launch;
mod parts;
mod replace;
mod scale;
mod second_gateway;
mod view;

pub use second_gateway::SecondGateway;
pub(crate) use view::urls;

/// How long the edge stops taking requests before the instances behind it are ended.
const EDGE_LEAD: Duration = Duration::from_millis(500);

/// What is started together. Each level needs those before it.
const LEVELS: [Extent; 5] = [Extent::Data, Extent::Services, Extent::Gateway, Extent::Edge, Extent::Monitoring];

/// A system that runs as processes on this machine. All of them end with it: when it is shut down, when it is dropped,
/// and when this process ends in whatever way.
///
/// Components are called by their names: `postgres`, `redis-sessions` (or `redis-sessions-1` …, `sentinel-1` …), `redis-cache`, `stateless-1` …, `stateful-1` …,
/// `gateway` (and `gateway-2`), `nginx`, `prometheus`.
pub struct Stack {
    settings: Arc<Settings>,
    control: Control,
    second_control: Control,
    /// Never held across an await: it guards the table alone.
    parts: Mutex<BTreeMap<Component, Part>>,
    /// Held while components are started, stopped or scaled, so that two such changes don't mix.
    changes: tokio::sync::Mutex<()>,
    /// Keeps the logs small; ended with the stack.
    small_logs: JoinHandle<()>,
}

impl Stack {
    /// A plan for tests: one stateless and three stateful instances behind a gateway, on ports and in a folder of
    /// their own, both of which go with the stack.
    pub fn for_tests() -> Plan {
        Plan::for_tests()
    }

    /// A plan for a stack whose state stays in this folder, on the design's ports, with Nginx in front and Prometheus beside.
    pub fn kept_in(state: impl Into<PathBuf>) -> Plan {
        Plan::kept(state)
    }

    pub(crate) async fn start(settings: Settings, counts: &BTreeMap<PoolName, u16>) -> Result<Self, StackError> {
        let mut parts = BTreeMap::new();
        let mut plan = |component, port| parts.insert(component, Part { port, process: None, wanted: Wanted::Stopped });
        plan(Component::Postgres, settings.ports.postgres);
        for (component, port) in redis::servers(&settings) {
            plan(component, port);
        }
        plan(Component::RedisCache, settings.ports.redis_cache);
        if settings.extent >= Extent::Services {
            for (&pool, &count) in counts {
                for number in 1..=count {
                    plan(Component::Instance(pool, number), settings.ports.instance(pool, number)?);
                }
            }
        }
        if settings.extent >= Extent::Gateway {
            gateway::forget_changes(&settings)?;
            plan(Component::Gateway, settings.ports.gateway);
            if settings.gateways == Gateways::Two {
                plan(Component::SecondGateway, settings.ports.second_gateway);
            }
        }
        if settings.extent >= Extent::Edge {
            plan(Component::Nginx, settings.ports.https);
        }
        if settings.extent >= Extent::Monitoring {
            plan(Component::Prometheus, settings.ports.prometheus);
            for (component, port) in exporters::installed(&settings.ports) {
                plan(component, port);
            }
        }
        let control = Control::of(&settings, Component::Gateway)?;
        let second_control = Control::of(&settings, Component::SecondGateway)?;
        let small_logs = tokio::spawn(keep_small(settings.state.join("logs")));
        let stack = Self {
            small_logs,
            settings: Arc::new(settings),
            control,
            second_control,
            parts: Mutex::new(parts),
            changes: tokio::sync::Mutex::default(),
        };
        // What is missing is told at once, and not after half of the stack has been started.
        for binary in stack.components().into_iter().filter_map(Component::binary) {
            stack.settings.builds.binary(binary)?;
        }
        stack.await_free_ports().await?;
        redis::prepare(&stack.settings)?;
        for level in LEVELS {
            let of_level = stack.components().into_iter().filter(|component| level_of(*component) == level);
            // Sentinels learn of the replicas from the master when they start, and then not for ten seconds.
            let (watchers, watched): (Vec<_>, Vec<_>) =
                of_level.partition(|component| matches!(component, Component::Sentinel(_)));
            try_join_all(watched.into_iter().map(|component| stack.launch(component))).await?;
            if level == Extent::Data {
                redis::join(&stack.settings).await?;
            }
            try_join_all(watchers.into_iter().map(|component| stack.launch(component))).await?;
        }
        redis::await_watch(&stack.settings).await?;
        stack.tell_prometheus()?;
        Ok(stack)
    }

    /// Starts a component that does not run. An instance that was removed from its pool is added again. The gateways find it
    /// healthy when this returns.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it runs, else why it could not be started.
    pub async fn start_component(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        self.require_ended(component)?;
        self.require_free_ports(component)?;
        self.launch(component).await?;
        self.add_if_removed(component).await?;
        self.await_member(component).await
    }

    /// Starts an instance that does not run under its old name on another port.
    ///
    /// # Errors
    /// See [`Stack::start_component`].
    pub async fn start_on(&self, name: &str, port: u16) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        let Some(pool) = component.pool() else {
            let cure = "only an instance of a pool is; PORT_OFFSET shifts the ports of all".to_owned();
            return Err(StackError::NotForThis {
                component: component.to_string(),
                done: "moved to another port",
                cure,
            });
        };
        self.require_ended(component)?;
        ports::require_free(port, name)?;
        self.update(component, |part| part.port = port);
        self.tell_prometheus()?;
        self.launch(component).await?;
        for control in self.running_controls() {
            // Its old address bears the name there until it is removed.
            control.remove_address(pool, name).await?;
            control.add(pool, loopback(port)).await?;
        }
        self.await_member(component).await
    }

    /// Kills a component (`SIGKILL`), with every process that it has started, and waits until it is gone.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub async fn kill(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        let process = self.running(component)?;
        self.update(component, |part| part.wanted = Wanted::Killed);
        process.kill().await;
        self.tell(&format!("{name} killed"));
        Ok(())
    }

    /// Ends a component in order and waits until it is gone. After 15 s it is killed.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub async fn stop(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        self.running(component)?;
        self.end(component).await;
        Ok(())
    }

    /// Stops a component where it stands (`SIGSTOP`), with every process that it has started.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn pause(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        self.running(component)?.pause();
        self.update(component, |part| part.wanted = Wanted::Paused);
        Ok(())
    }

    /// Fills the disk of the sessions' Redis, and no other.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] unless the plan gave it a [small one](Plan::small_disk).
    pub fn fill_disk(&self) -> Result<(), StackError> {
        self.small_disk()?.fill()
    }

    /// Makes room on it again. A server that has ended meanwhile is started by whoever keeps the stack up.
    ///
    /// # Errors
    /// See [`Stack::fill_disk`].
    pub fn free_disk(&self) -> Result<(), StackError> {
        self.small_disk()?.free()
    }

    fn small_disk(&self) -> Result<&SmallDisk, StackError> {
        self.settings.small_disk.as_ref().ok_or(StackError::NotPlanned("a disk that can be filled"))
    }

    /// Lets a paused component go on.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn resume(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        self.running(component)?.resume();
        self.update(component, |part| part.wanted = Wanted::Running);
        Ok(())
    }

    /// Ends everything in order. The edge takes no new requests from then on; streams end with their instances, which say
    /// that they go away, and so the gateway and the edge go on until those have ended.
    pub async fn shutdown(self) {
        self.end_all().await;
    }

    /// The same for one who shares the stack: afterwards nothing of it runs.
    pub(crate) async fn end_all(&self) {
        let _change = self.changes.lock().await;
        self.end_level(Extent::Monitoring).await;
        let lead = if self.runs(Component::Nginx) { EDGE_LEAD } else { Duration::ZERO };
        let behind_the_edge = async {
            tokio::time::sleep(lead).await;
            self.end_level(Extent::Services).await;
        };
        tokio::join!(self.end_level(Extent::Edge), behind_the_edge);
        self.end_level(Extent::Gateway).await;
        self.end_level(Extent::Data).await;
        nginx::forget_cache(&self.settings.state);
    }

    async fn end_level(&self, level: Extent) {
        let of_level = self.components().into_iter().filter(|component| level_of(*component) == level);
        join_all(of_level.map(|component| self.end(component))).await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.small_logs.abort();
        self.kill_all();
    }
}

fn level_of(component: Component) -> Extent {
    match component {
        Component::Postgres
        | Component::RedisSessions
        | Component::RedisNode(_)
        | Component::Sentinel(_)
        | Component::RedisCache => Extent::Data,
        Component::Instance(..) => Extent::Services,
        Component::Gateway | Component::SecondGateway => Extent::Gateway,
        Component::Nginx => Extent::Edge,
        Component::Prometheus | Component::Exporter(_) => Extent::Monitoring,
    }
}
