//! Builds the gateway, tells where it listens, and runs it until it is stopped.

mod error;
mod listener;
mod milestone;
mod signals;
pub mod upgrade;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignalWatch, UnixShutdownSignalWatch};
use pingora::services::background::background_service;
use service_kit::tokens::TokenVerifier;
use tokio::sync::watch;

pub use error::BuildError;

use crate::config::{Config, Lab, Source};
use crate::connection::{Connections, IDLE_LINGER};
use crate::control::{self, ControlPlane};
use crate::descriptors;
use crate::events::Events;
use crate::health_check::checks::{Checked, FirstChecks, HealthChecks};
use crate::health_check::ejector::Ejector;
use crate::pool::state_file::StateFile;
use crate::pool::{Pool, Pools};
use crate::proxy;
use crate::reload::{ReloadMetrics, Reloader};
use crate::resilience::Guards;
use crate::resilience::rate_limit::{RateLimiter, User};
use crate::resilience::retry_budget::MAX_ATTEMPTS;
use crate::server::listener::BoundService;
use crate::server::milestone::Milestone;
use crate::server::signals::{ReloadWatch, Signals, StopWatch};
use crate::server::upgrade::{Assets, HandOver, Office, Predecessor, UpgradeError};
use crate::telemetry::{StateFileMetrics, Telemetry};

/// Idle connections kept to all instances together.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// How often the end of the requests in flight is looked for while stopping.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A gateway that is bound and not yet running; connections wait in its listeners' queues.
#[must_use = "it serves nothing until it is run"]
pub struct Gateway {
    addr: SocketAddr,
    server: Server,
    control: ControlPlane,
    telemetry: Arc<Telemetry>,
    announce: Duration,
    grace_period: Duration,
    state_file: Arc<StateFile>,
    reloader: Arc<Reloader>,
    upgrade_sock: Option<PathBuf>,
    predecessor: Option<Predecessor>,
    handed_over: watch::Receiver<bool>,
    leaving: Arc<AtomicBool>,
    tell: mpsc::Sender<Milestone>,
    told: mpsc::Receiver<Milestone>,
}

/// How a gateway begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With listeners of its own.
    Afresh,
    /// With those of the gateway that runs, if one does.
    AsSuccessor,
}

/// Opens both listeners, or takes them over from a gateway that runs, and puts the parts together. `source` is where the
/// configuration came from, so that it can be read again.
///
/// # Errors
/// When an address cannot be bound, or the state file or the upgrade's socket cannot be used.
pub fn build(config: Config, source: Source, start: Start) -> Result<Gateway, BuildError> {
    let mut predecessor = match (start, &config.server.upgrade_sock) {
        (Start::AsSuccessor, None) => return Err(BuildError::NoUpgradeSocket),
        (Start::AsSuccessor, Some(path)) => Predecessor::find(path)?,
        (Start::Afresh, _) => None,
    };
    // After the predecessor was found: from then on it lets nothing be changed.
    let events = Events::new(config.control.event_sample_per_s);
    let state_file = Arc::new(StateFile::open(config.server.state_file.clone(), events.clone())?);
    let pools = Arc::new(Pools::new(|name| {
        let state_file = Arc::clone(&state_file);
        Pool::new(name, config.pool(name), config.health.thresholds, config.seed, state_file, events.clone())
    }));
    let identity = config.identity();
    let telemetry = Arc::new(Telemetry::new(&config.name, &pools, events.clone())?);
    let traffic = Arc::new(ArcSwap::from_pointee(config.traffic.clone()));
    let reloader = Reloader::new(source, &config, Arc::clone(&traffic), Arc::clone(&pools), events.clone());
    let reloader = Arc::new(reloader);
    telemetry.metrics.registry().register(Box::new(ReloadMetrics::new(Arc::clone(&reloader))?))?;
    telemetry.metrics.registry().register(Box::new(StateFileMetrics::new(Arc::clone(&state_file))?))?;

    let (wanted, control) = (config.server.listen, config.control.listen);
    let listener = upgrade::listener(predecessor.as_mut(), wanted);
    let listener = listener.map_err(|source| BuildError::Listen { addr: wanted, source })?;
    let control_listener = upgrade::listener(predecessor.as_mut(), control);
    let control_listener = control_listener.map_err(|source| BuildError::Control { addr: control, source })?;
    let no_control = |source| BuildError::Control { addr: control, source };
    let no_data = |source| BuildError::Listen { addr: wanted, source };
    let mut copies = vec![listener.try_clone().map_err(no_data)?, control_listener.try_clone().map_err(no_control)?];
    let metrics_listener = match config.control.metrics_listen {
        None => None,
        Some(addr) => {
            let no_metrics = |source| BuildError::Metrics { addr, source };
            let listener = upgrade::listener(predecessor.as_mut(), addr).map_err(no_metrics)?;
            copies.push(listener.try_clone().map_err(no_metrics)?);
            Some(listener)
        }
    };

    let succession = Arc::new(AtomicBool::new(false));
    let parts = control::Parts {
        pools: Arc::clone(&pools),
        metrics: telemetry.metrics.beside("control")?,
        events,
        reloader: Arc::clone(&reloader),
        succession: Arc::clone(&succession),
    };
    let control = ControlPlane::new(&config, control_listener, metrics_listener, parts).map_err(no_control)?;

    let mut server = Server::new_with_opt_and_conf(None, server_conf(&config));
    let (tell, told) = mpsc::channel();
    let (hand_over, handed_over) = watch::channel(false);
    if let Some(path) = &config.server.upgrade_sock {
        let state_file = Arc::clone(&state_file);
        let assets = Assets { listeners: copies, pools: Arc::clone(&pools), succession, state_file };
        let office = Office::open(path, assets, tell.clone(), hand_over)?;
        server.add_service(background_service("upgrade", office));
    }
    if config.traffic.lab == Lab::Open {
        tracing::warn!("the lab is open ([lab] enabled): any client chooses a strategy by X-Routing-Strategy");
    }
    let leaving = Arc::new(AtomicBool::new(false));
    let (ejector, outliers) = Ejector::new(Arc::clone(&pools), Arc::clone(&telemetry));
    let data_plane = proxy::Gateway {
        traffic: Arc::clone(&traffic),
        pools: Arc::clone(&pools),
        telemetry: Arc::clone(&telemetry),
        outliers,
        guards: Guards::default(),
        clients: RateLimiter::default(),
        requests: Arc::default(),
        streams: Arc::default(),
        leaving: Arc::clone(&leaving),
        tokens: config.tokens.map(|settings| TokenVerifier::new(settings, User::named)),
    };
    let proxy = http_proxy(&server.configuration, data_plane);
    let most = descriptors::max_connections(config.max_connections, descriptors::raise_limit())?;
    let connections = Connections::new(most, proxy, traffic, Arc::clone(&telemetry), handed_over.clone());
    let service = BoundService::new("data plane", connections, listener, handed_over.clone()).map_err(no_data)?;
    let addr = service.addr();
    let serving = server.add_service(service);
    let first = FirstChecks {
        needed: predecessor.as_ref().map(|predecessor| predecessor.healthy().to_vec()),
        main: tell.clone(),
    };
    let (health, discovery) = (reloader.health(), reloader.discovery());
    let checks = HealthChecks { pools, config: health, discovery, telemetry: Arc::clone(&telemetry), first, identity };
    let checking = server.add_service(background_service("health checks", checks));
    server.add_service(background_service("outlier ejection", ejector));
    // Requests wait in the listener's queue until every instance was asked once: with half of the members, a key's home
    // would be wrong.
    serving.add_dependency(&checking);
    Ok(Gateway {
        addr,
        server,
        control,
        telemetry,
        announce: config.server.announce,
        grace_period: config.server.grace_period,
        state_file,
        reloader,
        upgrade_sock: config.server.upgrade_sock,
        predecessor,
        handed_over,
        leaving,
        tell,
        told,
    })
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

    /// Where monitoring reads metrics, if it does so apart from the control plane.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.control.metrics_addr()
    }

    /// Serves until SIGTERM (requests in flight finish first), SIGINT (at once) or the end of an upgrade (as SIGTERM).
    /// SIGHUP reads the configuration again.
    ///
    /// # Errors
    /// When it was to be a successor and could not take over.
    pub fn run_until_stopped(self) -> Result<(), UpgradeError> {
        self.run(UnixShutdownSignalWatch)
    }

    /// Serves until the signal comes.
    ///
    /// Pingora would sleep the whole grace period even when it is idle, so it stops in a thread that is left behind
    /// as soon as the last request has ended.
    ///
    /// # Errors
    /// When it was to be a successor and could not take over.
    pub fn run(self, signal: impl ShutdownSignalWatch + Send + Sync + 'static) -> Result<(), UpgradeError> {
        let Self { addr, mut server, control, telemetry, announce, grace_period, tell, told, .. } = self;
        tracing::info!(%addr, control = %control.addr(), "listening");
        server.add_service(background_service("stop watch", StopWatch { main: tell.clone() }));
        server.add_service(background_service("reload by SIGHUP", ReloadWatch { reloader: self.reloader }));
        let signal = Signals {
            given: signal,
            announce,
            main: tell.clone(),
            handed_over: self.handed_over,
            leaving: self.leaving,
        };
        thread::spawn(move || {
            server.run(RunArgs { shutdown_signal: Box::new(signal) });
            let _main_has_gone = tell.send(Milestone::Stopped);
        });
        if let Some(predecessor) = self.predecessor {
            match told.recv() {
                Ok(Milestone::Checked(Checked { go, unhealthy: None })) => {
                    predecessor.take_office()?;
                    let _stopping_already = go.send(());
                    tracing::info!("took over");
                }
                Ok(Milestone::Checked(Checked { unhealthy: Some(pool), .. })) => {
                    return Err(UpgradeError::Unhealthy(pool.to_string()));
                }
                // Stopped before it was in office.
                _ => return Ok(()),
            }
        }
        if let Some(path) = &self.upgrade_sock {
            upgrade::publish(path)?;
        }

        let mut control = Some(control.start());
        let mut linger = Duration::ZERO;
        let mut announced = false;
        let mut stopped = false;
        while !stopped {
            match told.recv() {
                Ok(Milestone::HandOver(HandOver { done })) => {
                    if let Some(control) = control.take() {
                        control.drain();
                        control.stop();
                    }
                    self.state_file.hand_over();
                    linger = IDLE_LINGER;
                    let _ended_already = done.send(());
                }
                Ok(Milestone::Leaving) => {
                    tracing::info!(
                        seconds = announce.as_secs(),
                        "announcing that this gateway leaves: readiness fails"
                    );
                    control.iter().for_each(control::Running::drain);
                    announced = true;
                }
                Ok(Milestone::StopBegun) => {
                    tracing::info!("stopping");
                    if !announced {
                        control.iter().for_each(control::Running::drain);
                    }
                    wait_for_last_request(&told, &telemetry, linger, grace_period);
                    stopped = true;
                }
                // Nobody waits for it but a successor.
                Ok(Milestone::Checked(_)) => {}
                Ok(Milestone::Stopped) | Err(_) => stopped = true,
            }
        }
        control.into_iter().for_each(control::Running::stop);
        self.state_file.close();
        match telemetry.metrics.active() {
            0 => tracing::info!(cut_off = 0, "stopped"),
            cut_off => tracing::warn!(cut_off, "stopped; requests were cut off at the end of the grace period"),
        }
        Ok(())
    }
}

/// Returns when no request is in flight any more and the linger is over, or the grace period is.
fn wait_for_last_request(
    told: &mpsc::Receiver<Milestone>,
    telemetry: &Telemetry,
    linger: Duration,
    grace_period: Duration,
) {
    let begun = Instant::now();
    let mut idle_polls = 0;
    // Twice in a row, since a request may just be on its way from the listener's queue.
    while (idle_polls < 2 || begun.elapsed() < linger) && begun.elapsed() < grace_period {
        match told.recv_timeout(DRAIN_POLL) {
            Err(RecvTimeoutError::Timeout) if telemetry.metrics.active() == 0 => idle_polls += 1,
            Err(RecvTimeoutError::Timeout) => idle_polls = 0,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // Each thread keeps its own connections; stealing costs more here than it evens out.
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_POOL_SIZE,
        // `proxy/retry.rs` ends it earlier, by what the configuration says at that time.
        max_retries: MAX_ATTEMPTS as usize,
        grace_period_seconds: Some(config.server.grace_period.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}
