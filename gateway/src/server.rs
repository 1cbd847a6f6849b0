//! Builds the gateway, tells where it listens, and runs it until it is stopped.

mod listener;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignalWatch, ShutdownWatch, UnixShutdownSignalWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use service_kit::server::BindError;

use crate::config::{self, Config, Lab};
use crate::connection::Connections;
use crate::control::ControlPlane;
use crate::events::Events;
use crate::pool::prober::Prober;
use crate::pool::state_file::{StateFile, StateFileError};
use crate::pool::{Pool, Pools};
use crate::proxy;
use crate::resilience::outlier::Ejector;
use crate::server::listener::BoundService;
use crate::telemetry::Telemetry;

/// Idle connections kept to all instances together.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// How often the end of the requests in flight is looked for while stopping.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The data plane's address cannot be bound.
    #[error("cannot listen on {addr} ([server] listen)")]
    Listen {
        /// Which address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control plane's address cannot be bound.
    #[error("the control plane cannot start ([control] listen)")]
    Control(#[from] BindError),
    /// The state file cannot be used.
    #[error("the control API's changes cannot be kept ([server] state_file)")]
    StateFile(#[from] StateFileError),
    /// A metric was registered twice.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// A gateway that is bound and not yet running; connections wait in its listeners' queues.
#[must_use = "it serves nothing until it is run"]
pub struct Gateway {
    addr: SocketAddr,
    server: Server,
    control: ControlPlane,
    telemetry: Arc<Telemetry>,
    grace_period: Duration,
}

/// Binds both listeners and puts the parts together.
///
/// # Errors
/// When an address cannot be bound or the state file cannot be used.
pub fn build(config: Config) -> Result<Gateway, BuildError> {
    let state_file = Arc::new(StateFile::open(config.server.state_file.clone())?);
    let events = Events::new(config.control.event_sample_per_s);
    let pools = Arc::new(Pools::new(|name| {
        let state_file = Arc::clone(&state_file);
        Pool::new(name, config.pool(name), config.health.thresholds, config.seed, state_file, events.clone())
    }));
    let telemetry = Arc::new(Telemetry::new(&pools, events.clone())?);
    let control = ControlPlane::bind(&config, Arc::clone(&pools), telemetry.metrics.beside("control")?, events)?;

    let server_conf = server_conf(&config);
    let grace_period = config.server.grace_period;
    let mut server = Server::new_with_opt_and_conf(None, server_conf);
    let (health, wanted) = (config.health, config.server.listen);
    if config.traffic.lab == Lab::Open {
        tracing::warn!("the lab is open ([lab] enabled): any client chooses a strategy by X-Routing-Strategy");
    }
    let (ejector, outliers) = Ejector::new(Arc::clone(&pools), Arc::clone(&telemetry));
    let traffic = Arc::new(ArcSwap::from_pointee(config.traffic));
    let data_plane = proxy::Gateway {
        traffic: Arc::clone(&traffic),
        pools: Arc::clone(&pools),
        telemetry: Arc::clone(&telemetry),
        outliers,
    };
    let proxy = http_proxy(&server.configuration, data_plane);
    let service = Service::new("data plane".to_owned(), Connections::new(proxy, traffic, Arc::clone(&telemetry)));
    let service = BoundService::bind(service, wanted).map_err(|source| BuildError::Listen { addr: wanted, source })?;
    let addr = service.addr();
    let serving = server.add_service(service);
    let checking = server.add_service(background_service("health checks", HealthChecks { pools, config: health }));
    server.add_service(background_service("outlier ejection", ejector));
    // Requests wait in the listener's queue until every instance was asked once: with half of the members, a key's home
    // would be wrong.
    serving.add_dependency(&checking);
    Ok(Gateway { addr, server, control, telemetry, grace_period })
}

impl Gateway {
    /// Where clients connect: with port 0, this tells which port it became.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where operators connect.
    pub fn control_addr(&self) -> SocketAddr {
        self.control.addr()
    }

    /// Serves until SIGTERM (requests in flight finish first) or SIGINT (at once).
    pub fn run_until_stopped(self) {
        self.run(UnixShutdownSignalWatch);
    }

    /// Serves until the signal comes.
    ///
    /// Pingora would sleep the whole grace period even when it is idle, so it stops in a thread that is left behind
    /// as soon as the last request has ended.
    pub fn run(self, signal: impl ShutdownSignalWatch + Send + 'static) {
        let Self { addr, mut server, control, telemetry, grace_period } = self;
        tracing::info!(%addr, control = %control.addr(), "listening");
        let (stopping, stopped) = mpsc::channel();
        server.add_service(background_service("stop watch", StopWatch { stopping: stopping.clone() }));
        let control = control.start();
        thread::spawn(move || {
            server.run(RunArgs { shutdown_signal: Box::new(signal) });
            let _main_has_gone = stopping.send(Stop::Done);
        });
        if stopped.recv() == Ok(Stop::Begun) {
            tracing::info!("stopping");
            control.drain();
            let deadline = Instant::now() + grace_period;
            let mut idle_polls = 0;
            // Twice in a row, since a request may just be on its way from the listener's queue.
            while idle_polls < 2 && Instant::now() < deadline {
                match stopped.recv_timeout(DRAIN_POLL) {
                    Err(RecvTimeoutError::Timeout) if telemetry.metrics.active() == 0 => idle_polls += 1,
                    Err(RecvTimeoutError::Timeout) => idle_polls = 0,
                    Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        control.stop();
        tracing::info!(cut_off = telemetry.metrics.active(), "stopped");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Begun,
    Done,
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // Each thread keeps its own connections; stealing costs more here than it evens out.
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_POOL_SIZE,
        max_retries: proxy::retry::MAX_ATTEMPTS,
        grace_period_seconds: Some(config.server.grace_period.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

/// Checks every instance of every pool.
struct HealthChecks {
    pools: Arc<Pools>,
    config: config::HealthChecks,
}

#[async_trait]
impl BackgroundService for HealthChecks {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let prober = Prober::new(self.config.timeout);
        join_all(self.pools.iter().map(|pool| prober.probe_pool(pool))).await;
        ready.notify_ready();
        let watch = join_all(self.pools.iter().map(|pool| prober.watch(Arc::clone(pool), self.config.interval)));
        tokio::select! {
            _ = watch => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// Tells when Pingora begins to stop.
struct StopWatch {
    stopping: mpsc::Sender<Stop>,
}

#[async_trait]
impl BackgroundService for StopWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // It may have begun before this service did.
        let _closed_means_stopping_too = shutdown.wait_for(|stopping| *stopping).await.is_ok();
        let _main_has_gone = self.stopping.send(Stop::Begun);
    }
}
