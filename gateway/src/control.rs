//! The control plane: an HTTP API for operators, on a listener of its own.
//!
//! Reads need no token, so the listener is on loopback by default; changes need the token. `guard`
//! applies this to all paths.

mod backend;
mod board;
mod changes;
mod class;
mod conversation;
mod drain;
mod endpoints;
mod events;
mod explain;
mod guard;
mod instances;
mod lab;
mod lessons;
mod listeners;
mod openapi;
mod order;
mod peers;
mod pools;
mod rates;
mod reload;
mod saved;
mod state;
mod traffic;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::{rt, web};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proto_contracts::control::Event;
use proto_contracts::{PoolName, Weight};
use service_kit::config::ServiceConfig;
use service_kit::health::{Health, HealthBuilder, Need};
use service_kit::server::Server;
use service_kit::telemetry::Metrics;
use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::control::backend::Backend;
use crate::control::listeners::Listeners;
use crate::control::order::Changes;
use crate::control::peers::Peers;
use crate::control::rates::RateSubscribers;
use crate::control::state::State;
use crate::events::Events;
use crate::health_check::Prober;
use crate::pool::Pools;
use crate::reload::Reloader;

/// How long requests to the control plane may take to finish while the gateway stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the control plane reads and changes.
pub struct Parts {
    /// The pools.
    pub pools: Arc<Pools>,
    /// The content of `/metrics`.
    pub metrics: Metrics,
    /// The event stream.
    pub events: Events,
    /// Reloads the configuration.
    pub reloader: Arc<Reloader>,
    /// Set during a hot restart: changes are rejected, because the new process would miss them.
    pub upgrading: Arc<AtomicBool>,
}

/// A control plane that is bound but not running.
pub struct ControlPlane {
    server: Server,
    /// Serves only health and metrics.
    metrics: Option<Server>,
    health: Health,
    events: Events,
    closing: watch::Sender<bool>,
    /// Publishes the rates; runs with the server.
    rates: BoxFuture<'static, ()>,
}

/// A running control plane, in its own thread.
pub struct Running {
    health: Health,
    events: Events,
    closing: watch::Sender<bool>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl ControlPlane {
    /// A control plane on this listener, and only health and metrics on the other one, if any.
    ///
    /// # Errors
    /// When a listener is not usable.
    pub fn new(
        config: &Config,
        listener: TcpListener,
        metrics_listener: Option<TcpListener>,
        parts: Parts,
    ) -> io::Result<Self> {
        let Parts { pools, metrics, events, reloader, upgrading } = parts;
        let service = ServiceConfig {
            listen: config.control.listen,
            instance: config.name.clone(),
            workers: NonZeroUsize::MIN,
            log_filter: config.log_filter.clone(),
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            traces: None,
            announce: Duration::ZERO,
            instance_token: None,
            deployment: config.deployment.clone(),
            weight: Weight::ONE,
            tls: None,
        };
        let health = PoolName::ALL.into_iter().fold(
            HealthBuilder::new("gateway", config.name.clone()),
            |health, name| {
                let pool = Arc::clone(pools.get(name));
                health.dependency(name.as_str(), Need::Required, move || {
                    std::future::ready(pools::readiness(&pool))
                })
            },
        );
        let health = health.build();
        // Only reads, and `Host` is arbitrary in container networks.
        let read_only = |listener| {
            let admit_all = Box::new(|_: &ServiceRequest| Ok(()));
            Server::on_guarded(
                listener,
                &service,
                health.clone(),
                metrics.clone(),
                admit_all,
                |_| {},
            )
        };
        let read_only = metrics_listener.map(read_only).transpose()?;
        let closing = watch::Sender::new(false);
        let subscribers = RateSubscribers::default();
        let rates = rates::publish(
            subscribers.clone(),
            Arc::clone(&pools),
            metrics.clone(),
            events.clone(),
        );
        let state = web::Data::new(State {
            pools,
            prober: Prober::configured(&config.health, &config.identity()),
            events: events.clone(),
            reloader,
            listeners: Listeners::default(),
            rates: subscribers,
            token: config.control.token.clone(),
            class: config.control.class.clone(),
            agent: config.control.agent.as_ref().map(Backend::agent).transpose()?,
            driver: config.control.driver.as_ref().map(Backend::driver).transpose()?,
            changes: Changes::default(),
            peers: Peers::new(config, listener.local_addr()?, metrics.registry())?,
            closing: closing.subscribe(),
        });
        let server = Server::on_guarded(
            listener,
            &service,
            health.clone(),
            metrics,
            guard::admit(&config.control, upgrading),
            move |app: &mut web::ServiceConfig| {
                app.app_data(state.clone());
                endpoints::mount(app);
            },
        )?;
        Ok(Self { server, metrics: read_only, health, events, closing, rates: Box::pin(rates) })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The bound address of the metrics listener, if any.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Server::addr)
    }

    /// Starts serving.
    pub fn start(self) -> Running {
        let Self { server, metrics, health, events, closing, rates } = self;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            // A dropped sender means the same.
            let stopped = stopped.map(drop).shared();
            rt::System::new().block_on(async move {
                let control = server.run_until(stopped.clone());
                let metrics = async move {
                    match metrics {
                        Some(metrics) => metrics.run_until(stopped).await,
                        None => Ok(()),
                    }
                };
                let rates = rt::spawn(rates);
                let (control, metrics) = tokio::join!(control, metrics);
                rates.abort();
                control.and(metrics)
            })
        });
        Running { health, events, closing, stop, thread }
    }
}

impl Running {
    /// Readiness fails from now on; everything else continues.
    pub fn drain(&self) {
        self.health.drain();
        self.events.publish(|| Event::GatewayStopping {});
    }

    /// Stops serving.
    pub fn stop(self) {
        let Self { closing, stop, thread, .. } = self;
        // Event streams would not end by themselves.
        closing.send_replace(true);
        let _ended_by_itself = stop.send(());
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the control plane failed"),
            Err(_panic) => tracing::error!("the control plane panicked"),
        }
    }
}
