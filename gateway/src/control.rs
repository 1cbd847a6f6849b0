//! The control plane: what operators ask and change, on a listener of its own.
//!
//! Everything is JSON. Reading is free to whoever reaches the listener, which is loopback's by default; a change needs
//! the token. `guard` holds both rules, for every path at once.

mod api;
mod drain;
mod endpoints;
mod events;
mod explain;
mod guard;
mod instances;
mod listeners;
mod openapi;
mod pools;
mod reload;
mod saved;
mod state;

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
use proto_contracts::control::Event;
use proto_contracts::{PoolName, Weight};
use service_kit::config::ServiceConfig;
use service_kit::health::{Health, HealthBuilder, Need};
use service_kit::server::Server;
use service_kit::telemetry::Metrics;
use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::control::listeners::Listeners;
use crate::control::state::State;
use crate::events::Events;
use crate::health_check::Prober;
use crate::pool::Pools;
use crate::reload::Reloader;

/// How long a request to the control plane may take to finish while the gateway stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the control plane shows and changes.
pub struct Parts {
    /// The pools.
    pub pools: Arc<Pools>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What happens.
    pub events: Events,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// Whether a successor is starting, which would not know of a change.
    pub upgrading: Arc<AtomicBool>,
}

/// A control plane that is bound and not yet running.
pub struct ControlPlane {
    server: Server,
    /// Health and metrics alone.
    metrics: Option<Server>,
    health: Health,
    events: Events,
    closing: watch::Sender<bool>,
}

/// A control plane at work in a thread of its own.
pub struct Running {
    health: Health,
    events: Events,
    closing: watch::Sender<bool>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl ControlPlane {
    /// Will serve on this listener, and health and metrics alone on the other, where there is one.
    ///
    /// # Errors
    /// When a listener cannot be used.
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
        };
        let health =
            PoolName::ALL.into_iter().fold(HealthBuilder::new("gateway", config.name.clone()), |health, name| {
                let pool = Arc::clone(pools.get(name));
                health.dependency(name.as_str(), Need::Required, move || std::future::ready(pools::readiness(&pool)))
            });
        let health = health.build();
        // Everything there is to read, so whoever reaches it may; a `Host` tells nothing in a network of containers.
        let read_only = |listener| {
            let everybody = Box::new(|_: &ServiceRequest| Ok(()));
            Server::on_guarded(listener, &service, health.clone(), metrics.clone(), everybody, |_| {})
        };
        let read_only = metrics_listener.map(read_only).transpose()?;
        let closing = watch::Sender::new(false);
        let state = web::Data::new(State {
            pools,
            prober: Prober::configured(&config.health, &config.identity()),
            events: events.clone(),
            reloader,
            listeners: Listeners::default(),
            token: config.control.token.clone(),
            closing: closing.subscribe(),
            openapi: openapi::describe(&endpoints::all()),
        });
        let server = Server::on_guarded(
            listener,
            &service,
            health.clone(),
            metrics,
            guard::admit(&config.control, upgrading),
            move |app: &mut web::ServiceConfig| {
                app.app_data(state.clone());
                endpoints::all().into_iter().for_each(|endpoint| endpoint.mount(app));
            },
        )?;
        Ok(Self { server, metrics: read_only, health, events, closing })
    }

    /// Where operators connect.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Where monitoring reads, if it does so apart.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Server::addr)
    }

    /// Serves from now on.
    pub fn start(self) -> Running {
        let Self { server, metrics, health, events, closing } = self;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            // A sender that is gone means the same as one that has sent.
            let stopped = stopped.map(drop).shared();
            rt::System::new().block_on(async move {
                let control = server.run_until(stopped.clone());
                let metrics = async move {
                    match metrics {
                        Some(metrics) => metrics.run_until(stopped).await,
                        None => Ok(()),
                    }
                };
                let (control, metrics) = tokio::join!(control, metrics);
                control.and(metrics)
            })
        });
        Running { health, events, closing, stop, thread }
    }
}

impl Running {
    /// Readiness fails from now on; everything else goes on.
    pub fn drain(&self) {
        self.health.drain();
        self.events.publish(|| Event::GatewayStopping {});
    }

    /// Stops serving.
    pub fn stop(self) {
        let Self { closing, stop, thread, .. } = self;
        // A stream would last for as long as its listener likes.
        closing.send_replace(true);
        let _ended_by_itself = stop.send(());
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the control plane failed"),
            Err(_panic) => tracing::error!("the control plane panicked"),
        }
    }
}
