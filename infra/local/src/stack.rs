//! A running stack.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use proto_contracts::{PoolName, Role};
use tokio::task::JoinHandle;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::exporters;
use crate::gateway::{self, Control};
use crate::plan::Plan;
use crate::ports::{self, loopback};
use crate::postgres;
use crate::process::rotate_logs;
use crate::redis;
use crate::settings::{Lifetime, Settings};
use crate::shared_memory;
use crate::small_disk::SmallDisk;
use crate::topology::{Extent, Gateways};
use part::{Part, Requested};

mod launch;
mod part;
mod parts;
mod replace;
mod restarts;
mod scale;
pub(crate) mod second_gateway;
mod view;

/// How long before the instances the edge stops accepting requests.
const EDGE_LEAD: Duration = Duration::from_millis(500);

/// Start order. Each level depends on those before it.
const LEVELS: [Extent; 5] =
    [Extent::Data, Extent::Services, Extent::Gateway, Extent::Edge, Extent::Monitoring];

/// A system of processes on this machine. All of them end when it is shut down or dropped, and when
/// this process ends, even by SIGKILL.
///
/// Names of components: `postgres` (and `postgres-replica`), `redis-sessions` (or
/// `redis-sessions-1` …, `sentinel-1` …), `redis-cache`, `stateless-1` …, `stateful-1` …, `gateway`
/// (and `gateway-2`), `nginx`, `driver`, `prometheus`.
pub struct Stack {
    settings: Arc<Settings>,
    control: Control,
    second_control: Control,
    /// Guards the table alone; never held across an await.
    parts: Mutex<BTreeMap<Component, Part>>,
    /// Serializes starts, stops and scaling.
    changes: tokio::sync::Mutex<()>,
    /// Rotates the logs; ends with the stack.
    log_rotation: JoinHandle<()>,
}

impl Plan {
    /// Starts everything and waits until it is healthy. On failure, everything is stopped again.
    ///
    /// # Errors
    /// A [`StackError`] that names the component, the expected sign of readiness and the end of its
    /// log.
    pub async fn start(self) -> Result<Stack, StackError> {
        let counts = BTreeMap::from([
            (PoolName::Stateless, self.stateless),
            (PoolName::Stateful, self.stateful),
        ]);
        let prepare = || {
            let mut settings = Settings::resolve(self)?;
            if settings.lifetime == Lifetime::Test {
                settings.secrets.database_password = postgres::template_password(&settings)?;
            }
            Ok::<_, StackError>(settings)
        };
        let prepared = tokio::task::spawn_blocking(prepare).await.map_err(io::Error::other);
        let settings = prepared.attempt(|| "prepare the stack".to_owned())??;
        Stack::start(settings, &counts).await
    }
}

impl Stack {
    /// A plan for tests: one stateless and three stateful instances behind a gateway, on free ports
    /// and in a temporary folder.
    pub fn for_tests() -> Plan {
        Plan::for_tests()
    }

    /// A plan for a stack with Nginx and Prometheus on the default ports, whose state stays in this
    /// folder.
    pub fn kept_in(state: impl Into<PathBuf>) -> Plan {
        Plan::kept(state)
    }

    pub(crate) async fn start(
        settings: Settings,
        counts: &BTreeMap<PoolName, u16>,
    ) -> Result<Self, StackError> {
        let mut parts = BTreeMap::new();
        let mut plan = |component, port| {
            parts.insert(component, Part { port, process: None, requested: Requested::Stopped })
        };
        plan(Component::Postgres, settings.ports.postgres);
        if settings.replica {
            postgres::replica::discard(&settings)?;
            plan(Component::PostgresReplica, settings.ports.postgres_replica);
        }
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
            gateway::discard_runtime_changes(&settings)?;
            plan(Component::Gateway, settings.ports.gateway);
            if settings.gateways == Gateways::Two {
                plan(Component::SecondGateway, settings.ports.second_gateway);
            }
        }
        if settings.extent >= Extent::Edge {
            plan(Component::Nginx, settings.ports.https);
        }
        if settings.driver {
            plan(Component::Driver, settings.ports.driver);
        }
        if settings.extent >= Extent::Monitoring {
            plan(Component::Prometheus, settings.ports.prometheus);
            for (component, port) in exporters::installed(&settings.ports) {
                plan(component, port);
            }
        }
        let control = Control::of(&settings, Component::Gateway)?;
        let second_control = Control::of(&settings, Component::SecondGateway)?;
        let log_rotation = tokio::spawn(rotate_logs(settings.state.join("logs")));
        let stack = Self {
            log_rotation,
            settings: Arc::new(settings),
            control,
            second_control,
            parts: Mutex::new(parts),
            changes: tokio::sync::Mutex::default(),
        };
        // A missing binary fails at once, not after half of the stack has started.
        for binary in stack.components().into_iter().filter_map(Component::binary) {
            stack.settings.builds.binary(binary)?;
        }
        stack.await_free_ports().await?;
        redis::prepare(&stack.settings)?;
        for level in LEVELS {
            let of_level =
                stack.components().into_iter().filter(|component| level_of(*component) == level);
            // Sentinels read the replicas from the master when they start, and then every ten
            // seconds only. The standby begins as a copy of its primary.
            let (later, others): (Vec<_>, Vec<_>) = of_level.partition(|component| {
                matches!(component, Component::Sentinel(_) | Component::PostgresReplica)
            });
            try_join_all(others.into_iter().map(|component| stack.launch(component))).await?;
            if level == Extent::Data {
                redis::join(&stack.settings).await?;
            }
            try_join_all(later.into_iter().map(|component| stack.launch(component))).await?;
        }
        redis::await_watch(&stack.settings).await?;
        stack.update_scrape_targets()?;
        Ok(stack)
    }

    /// Creates the first admin unless there is one; returns what to report.
    pub(crate) async fn create_admin(&self) -> Option<String> {
        crate::admin::create(&self.settings).await
    }

    /// Gives a registered user a role, as an operator does.
    ///
    /// # Errors
    /// [`StackError::Io`] when the command fails, with what it printed.
    pub async fn grant(&self, username: &str, role: Role) -> Result<(), StackError> {
        crate::admin::grant(&self.settings, username, role).await
    }

    /// Starts a stopped component. An instance that was removed from its pool is added again.
    /// Returns when the gateways' health checks of the instance pass.
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
        self.await_instance_healthy(component).await
    }

    /// Starts a stopped instance under its old name on another port.
    ///
    /// # Errors
    /// See [`Stack::start_component`].
    pub async fn start_on(&self, name: &str, port: u16) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        let Some(pool) = component.pool() else {
            let cure = "only instances of a pool can; PORT_OFFSET shifts all ports".to_owned();
            return Err(StackError::Unsupported {
                component: component.to_string(),
                done: "moved to another port",
                cure,
            });
        };
        self.require_ended(component)?;
        ports::require_free(port, name)?;
        self.update(component, |part| part.port = port);
        self.update_scrape_targets()?;
        self.launch(component).await?;
        for control in self.running_controls() {
            // The gateway keeps the name for the old address until that is removed.
            control.remove_address(pool, name).await?;
            control.add(pool, loopback(port)).await?;
        }
        self.await_instance_healthy(component).await
    }

    /// Kills a component (`SIGKILL`) with all its descendants, and waits until they are gone.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub async fn kill(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        let process = self.running(component)?;
        self.update(component, |part| part.requested = Requested::Killed);
        process.kill().await;
        self.report(&format!("{name} killed"));
        Ok(())
    }

    /// Stops a component gracefully and waits until it is gone. After 15 s it is killed.
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

    /// Suspends a component (`SIGSTOP`) with all its descendants.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn pause(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        self.running(component)?.pause();
        self.update(component, |part| part.requested = Requested::Paused);
        Ok(())
    }

    /// Fills the separate disk of the sessions' Redis.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] unless the plan gave it a [small one](Plan::small_disk).
    pub fn fill_disk(&self) -> Result<(), StackError> {
        self.small_disk()?.fill()
    }

    /// Frees the disk again. Does not restart a server that ended meanwhile.
    ///
    /// # Errors
    /// See [`Stack::fill_disk`].
    pub fn free_disk(&self) -> Result<(), StackError> {
        self.small_disk()?.free()
    }

    fn small_disk(&self) -> Result<&SmallDisk, StackError> {
        self.settings.small_disk.as_ref().ok_or(StackError::NotPlanned("a small disk"))
    }

    /// Resumes a paused component.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn resume(&self, name: &str) -> Result<(), StackError> {
        let component = self.find(name)?;
        self.running(component)?.resume();
        self.update(component, |part| part.requested = Requested::Running);
        Ok(())
    }

    /// Stops everything gracefully. The edge accepts no new requests from then on. Instances end
    /// their streams when they stop, so the gateway and the edge stop after them.
    pub async fn shutdown(self) {
        self.end_all().await;
    }

    /// Like [`Stack::shutdown`], for a shared stack.
    pub(crate) async fn end_all(&self) {
        let _change = self.changes.lock().await;
        self.end_level(Extent::Monitoring).await;
        let lead = if self.runs(Component::Nginx) { EDGE_LEAD } else { Duration::ZERO };
        let services = async {
            tokio::time::sleep(lead).await;
            self.end_level(Extent::Services).await;
        };
        tokio::join!(self.end_level(Extent::Edge), services);
        self.end_level(Extent::Gateway).await;
        self.end_level(Extent::Data).await;
        shared_memory::remove_cache(&self.settings.state);
    }

    async fn end_level(&self, level: Extent) {
        let of_level =
            self.components().into_iter().filter(|component| level_of(*component) == level);
        join_all(of_level.map(|component| self.end(component))).await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.log_rotation.abort();
        self.kill_all();
    }
}

fn level_of(component: Component) -> Extent {
    match component {
        Component::Postgres
        | Component::PostgresReplica
        | Component::RedisSessions
        | Component::RedisNode(_)
        | Component::Sentinel(_)
        | Component::RedisCache => Extent::Data,
        Component::Instance(..) => Extent::Services,
        Component::Gateway | Component::SecondGateway => Extent::Gateway,
        Component::Nginx => Extent::Edge,
        // It begins when all is there, and ends before what it loads.
        Component::Driver | Component::Prometheus | Component::Exporter(_) => Extent::Monitoring,
    }
}
