//! Starting and stopping a component.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::Stack;
use super::part::Requested;
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::http::{self, Trust};
use crate::ports::{self, loopback};
use crate::process::{Launch, Process, lock};
use crate::ready::{self, Probe};
use crate::topology::Topology;
use crate::{driver, exporters, gateway, nginx, postgres, prometheus, redis, services};

/// Limit for a graceful stop; then the component is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a port may stay in use by processes of a supervisor that was just killed.
const PORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a dropped stack waits for what it killed.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

impl Stack {
    /// Starts one component and waits until it is ready.
    pub(super) async fn launch(&self, component: Component) -> Result<(), StackError> {
        let begin = Instant::now();
        let launch = self.prepare(component).await?;
        let process = Process::start(&self.settings.shim, &launch)
            .await
            .attempt(|| format!("start {component}"))?;
        let process = Arc::new(process);
        self.update(component, |part| {
            part.process = Some(Arc::clone(&process));
            part.requested = Requested::Starting;
        });
        let probe = self.probe(component)?;
        ready::wait(component, &process, &probe, &launch.log).await?;
        self.update(component, |part| {
            if part.requested == Requested::Starting {
                part.requested = Requested::Running;
            }
        });
        if component.is_gateway() {
            self.sync_gateway(component).await?;
        }
        let port = self.port_of(component);
        self.report(&format!(
            "{component} is ready on 127.0.0.1:{port} after {:.1} s",
            begin.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Updates the scrape targets of Prometheus, if there is one, to the current instances.
    pub(super) fn update_scrape_targets(&self) -> Result<(), StackError> {
        let members: Vec<_> =
            self.members().into_iter().map(|(component, _, port)| (component, port)).collect();
        prometheus::write_targets(&self.settings, &members)
    }

    /// Sets a gateway's pools to the current instances, and waits until those that run are healthy
    /// there.
    pub(super) async fn sync_gateway(&self, gateway: Component) -> Result<(), StackError> {
        let control =
            if gateway == Component::SecondGateway { &self.second_control } else { &self.control };
        let members: Vec<_> =
            self.members().into_iter().map(|(_, pool, port)| (pool, loopback(port))).collect();
        control.reconcile(&members).await?;
        let running = self.members().into_iter().filter(|&(component, ..)| self.runs(component));
        let running: Vec<_> = running
            .map(|(component, pool, port)| (pool, component.to_string(), loopback(port)))
            .collect();
        control.await_healthy(&running).await
    }

    /// Adds an instance to its pool at each running gateway that does not have it.
    pub(super) async fn add_if_removed(&self, component: Component) -> Result<(), StackError> {
        let Some(pool) = component.pool() else { return Ok(()) };
        let addr = loopback(self.port_of(component));
        for control in self.running_controls() {
            if control.pool(pool).await?.instances.iter().all(|instance| instance.addr != addr) {
                control.add(pool, addr).await?;
                self.report(&format!(
                    "{component} was removed from the {pool} pool; it is added again"
                ));
            }
        }
        Ok(())
    }

    /// Waits until the instance is healthy at each running gateway.
    pub(super) async fn await_instance_healthy(
        &self,
        component: Component,
    ) -> Result<(), StackError> {
        let Some(pool) = component.pool() else { return Ok(()) };
        let addr = loopback(self.port_of(component));
        for control in self.running_controls() {
            control.await_healthy(&[(pool, component.to_string(), addr)]).await?;
        }
        Ok(())
    }

    /// Stops a component gracefully, if it runs.
    pub(super) async fn end(&self, component: Component) {
        let Ok(process) = self.running(component) else { return };
        self.update(component, |part| part.requested = Requested::Stopped);
        match process.stop(STOP_TIMEOUT).await {
            Some(exit) => self.report(&format!("{component} stopped: {exit}")),
            None => self.report(&format!(
                "{component} did not stop within {} s and was killed",
                STOP_TIMEOUT.as_secs()
            )),
        }
    }

    /// Kills everything and waits, with a bound, for a stack that is dropped.
    pub(super) fn kill_all(&self) {
        let processes: Vec<Arc<Process>> =
            lock(&self.parts).values().filter_map(|part| part.process.clone()).collect();
        for process in processes.iter().filter(|process| process.exit().is_none()) {
            process.kill_now();
        }
        let begin = Instant::now();
        while processes.iter().any(|process| process.exit().is_none())
            && begin.elapsed() < DROP_TIMEOUT
        {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Fails when another process listens on a port of the plan. Processes of a supervisor that was
    /// just killed get time to end.
    pub(super) async fn await_free_ports(&self) -> Result<(), StackError> {
        let begin = Instant::now();
        loop {
            let busy = self
                .components()
                .into_iter()
                .find_map(|component| self.require_free_ports(component).err());
            match busy {
                None => return Ok(()),
                Some(busy) if begin.elapsed() > PORT_TIMEOUT => return Err(busy),
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Fails when another process listens on a port of the component.
    pub(super) fn require_free_ports(&self, component: Component) -> Result<(), StackError> {
        ports::require_free(self.port_of(component), &component.to_string())?;
        let ports = &self.settings.ports;
        match component {
            Component::RedisNode(number) if self.settings.redis == Topology::Cluster => {
                ports::require_free(ports.redis_bus(number), "the cluster bus")
            }
            Component::Gateway => ports::require_free(ports.control, "the gateway's control plane"),
            Component::SecondGateway => {
                ports::require_free(ports.second_control, "the second gateway's control plane")
            }
            Component::Nginx => {
                ports::require_free(ports.http, "nginx (HTTP)")?;
                ports::require_free(ports.nginx_status, "nginx (counters)")
            }
            _ => Ok(()),
        }
    }

    /// Reports progress.
    pub(super) fn report(&self, line: &str) {
        (self.settings.progress)(line);
    }

    /// Writes the component's configuration and returns how to start it. Runs on a blocking thread:
    /// making a database takes a second.
    pub(super) async fn prepare(&self, component: Component) -> Result<Launch, StackError> {
        let settings = Arc::clone(&self.settings);
        let port = self.port_of(component);
        let members: Vec<_> =
            self.members().into_iter().map(|(_, pool, port)| (pool, port)).collect();
        let prepared = tokio::task::spawn_blocking(move || match component {
            Component::Postgres => postgres::launch(&settings),
            Component::PostgresReplica => postgres::replica::launch(&settings),
            Component::RedisSessions => redis::sessions(&settings),
            Component::RedisNode(number) => redis::node(&settings, number),
            Component::Sentinel(number) => redis::sentinel(&settings, number),
            Component::RedisCache => redis::cache(&settings),
            Component::Instance(pool, number) => services::launch(&settings, pool, number, port),
            Component::Gateway | Component::SecondGateway => {
                gateway::launch(&settings, component, &members)
            }
            Component::Nginx => nginx::launch(&settings),
            Component::Driver => driver::launch(&settings),
            Component::Prometheus => prometheus::launch(&settings),
            Component::Exporter(exporter) => exporters::launch(&settings, exporter),
        });
        prepared.await.map_err(io::Error::other).attempt(|| format!("prepare {component}"))?
    }

    fn probe(&self, component: Component) -> Result<Probe, StackError> {
        let port = self.port_of(component);
        match component {
            Component::Postgres | Component::PostgresReplica => {
                let url = match component {
                    Component::PostgresReplica => self.settings.replica_url(),
                    _ => self.settings.database_url(),
                };
                let config = url.expose_secret().parse::<tokio_postgres::Config>();
                let config = config
                    .map_err(io::Error::other)
                    .attempt(|| "read the database's URL".to_owned())?;
                Ok(Probe::Postgres { config: Box::new(config) })
            }
            Component::RedisSessions
            | Component::RedisNode(_)
            | Component::Sentinel(_)
            | Component::RedisCache => Ok(Probe::Redis { port }),
            Component::Instance(..) => Ok(Probe::Http {
                client: self.settings.client()?,
                url: health_url(self.settings.scheme(), port),
                instance: Some(component),
            }),
            Component::Gateway | Component::SecondGateway => Ok(Probe::Http {
                client: self.settings.client()?,
                url: health_url(self.settings.scheme(), port),
                instance: None,
            }),
            Component::Driver => Ok(Probe::Http {
                client: http::internal(Trust::Nothing)?,
                url: health_url("http", port),
                instance: None,
            }),
            Component::Exporter(_) => {
                // Its own page: the server that it reads may be down.
                Ok(Probe::Http {
                    client: http::internal(Trust::Nothing)?,
                    url: format!("http://{}/", loopback(port)),
                    instance: None,
                })
            }
            Component::Prometheus => {
                let url = format!("http://{}/-/ready", loopback(port));
                let client = http::internal(Trust::Nothing)?;
                Ok(Probe::Http { client, url, instance: None })
            }
            Component::Nginx => {
                let ca = self.settings.tls_dir().join("ca.pem");
                let client = http::client(Trust::Authority(&ca))?.build().map_err(io::Error::other);
                let client = client.attempt(|| "make a client".to_owned())?;
                Ok(Probe::Http { client, url: health_url("https", port), instance: None })
            }
        }
    }
}

fn health_url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}/health")
}
