//! Builds the gateway, and runs it until it is stopped.

mod error;
mod lifecycle;
mod listener;
mod signals;
mod token_keys;
mod until_stopped;
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
use tokio::sync::watch;

pub use error::BuildError;

use crate::config::{Config, Lab, Source};
use crate::connection::{Connections, IDLE_LINGER};
use crate::control::{self, ControlPlane};
use crate::decision::Decisions;
use crate::descriptors;
use crate::events::Events;
use crate::exchange::PlainExchange;
use crate::health_check::checks::{Checked, FirstChecks, HealthCheckService};
use crate::health_check::ejector::Ejector;
use crate::pool::state_file::StateFile;
use crate::pool::{Pool, Pools};
use crate::proxy;
use crate::reload::{ReloadMetrics, Reloader};
use crate::resilience::Guards;
use crate::resilience::rate_limit::RateLimiter;
use crate::resilience::retry_budget::MAX_ATTEMPTS;
use crate::server::lifecycle::LifecycleEvent;
use crate::server::listener::BoundService;
use crate::server::signals::{ReloadWatch, Signals, StopWatch};
use crate::server::until_stopped::UntilStopped;
use crate::server::upgrade::{Assets, HandOver, HandoverServer, OldProcess, UpgradeError};
use crate::telemetry::{StateFileMetrics, Telemetry};

/// Poll interval for requests in flight while stopping.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A gateway that is bound but not running; connections wait in the listeners' queues.
#[must_use = "it serves only when it runs"]
pub struct Gateway {
    addr: SocketAddr,
    server: Server,
    control: ControlPlane,
    telemetry: Arc<Telemetry>,
    pre_stop_delay: Duration,
    grace_period: Duration,
    state_file: Arc<StateFile>,
    reloader: Arc<Reloader>,
    upgrade_sock: Option<PathBuf>,
    old_process: Option<OldProcess>,
    handed_over: watch::Receiver<bool>,
    draining: Arc<AtomicBool>,
    sender: mpsc::Sender<LifecycleEvent>,
    lifecycle: mpsc::Receiver<LifecycleEvent>,
}

/// How a gateway starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its own listeners.
    Fresh,
    /// Hot restart: with the listeners of the old process, if there is one.
    TakeOver,
}

/// Builds the gateway with its own listeners or those of the old process. `source` is read again on
/// reload.
///
/// # Errors
/// When an address cannot be bound, or the state file or the hot restart socket is not usable.
pub fn build(config: Config, source: Source, start: Start) -> Result<Gateway, BuildError> {
    let mut old_process = match (start, &config.server.upgrade_sock) {
        (Start::TakeOver, None) => return Err(BuildError::NoUpgradeSocket),
        (Start::TakeOver, Some(path)) => OldProcess::find(path)?,
        (Start::Fresh, _) => None,
    };
    // Opened after the old process was found, which rejects changes from then on.
    let events = Events::new(config.control.event_sample_per_s);
    let state_file = Arc::new(StateFile::open(config.server.state_file.clone(), events.clone())?);
    let pools = Arc::new(Pools::new(|name| {
        let state_file = Arc::clone(&state_file);
        Pool::new(
            name,
            config.pool(name),
            config.health.thresholds,
            config.seed,
            state_file,
            events.clone(),
        )
    }));
    let identity = config.identity();
    let telemetry = Arc::new(Telemetry::new(&config.name, &pools, events.clone())?);
    let traffic = Arc::new(ArcSwap::from_pointee(config.traffic.clone()));
    let reloader =
        Reloader::new(source, &config, Arc::clone(&traffic), Arc::clone(&pools), events.clone());
    let reloader = Arc::new(reloader);
    telemetry.metrics.registry().register(Box::new(ReloadMetrics::new(Arc::clone(&reloader))?))?;
    telemetry
        .metrics
        .registry()
        .register(Box::new(StateFileMetrics::new(Arc::clone(&state_file))?))?;

    let (wanted, control) = (config.server.listen, config.control.listen);
    let listener = upgrade::listener(old_process.as_mut(), wanted);
    let listener = listener.map_err(|source| BuildError::Listen { addr: wanted, source })?;
    let control_listener = upgrade::listener(old_process.as_mut(), control);
    let control_listener =
        control_listener.map_err(|source| BuildError::Control { addr: control, source })?;
    let no_control = |source| BuildError::Control { addr: control, source };
    let no_data = |source| BuildError::Listen { addr: wanted, source };
    let mut copies = vec![
        listener.try_clone().map_err(no_data)?,
        control_listener.try_clone().map_err(no_control)?,
    ];
    let metrics_listener = match config.control.metrics_listen {
        None => None,
        Some(addr) => {
            let no_metrics = |source| BuildError::Metrics { addr, source };
            let listener = upgrade::listener(old_process.as_mut(), addr).map_err(no_metrics)?;
            copies.push(listener.try_clone().map_err(no_metrics)?);
            Some(listener)
        }
    };

    let upgrading = Arc::new(AtomicBool::new(false));
    let parts = control::Parts {
        pools: Arc::clone(&pools),
        metrics: telemetry.metrics.beside("control")?,
        events,
        reloader: Arc::clone(&reloader),
        upgrading: Arc::clone(&upgrading),
    };
    let control = ControlPlane::new(&config, control_listener, metrics_listener, parts)
        .map_err(no_control)?;

    let most = descriptors::max_connections(config.max_connections, descriptors::raise_limit())?;
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&config, most));
    let (sender, lifecycle) = mpsc::channel();
    let (hand_over, handed_over) = watch::channel(false);
    if let Some(path) = &config.server.upgrade_sock {
        let state_file = Arc::clone(&state_file);
        let assets = Assets { listeners: copies, pools: Arc::clone(&pools), upgrading, state_file };
        let handover = HandoverServer::open(path, assets, sender.clone(), hand_over)?;
        server.add_service(background_service("upgrade", handover));
    }
    if config.traffic.lab == Lab::Open {
        tracing::warn!(
            "the lab is open ([lab] enabled): any client may override the strategy with \
             X-Routing-Strategy"
        );
    }
    let draining = Arc::new(AtomicBool::new(false));
    let (ejector, outliers) = Ejector::new(Arc::clone(&pools), Arc::clone(&telemetry), &identity);
    let registry = telemetry.metrics.registry();
    let tokens =
        config.tokens.map(|settings| token_keys::verifier(settings, registry)).transpose()?;
    if let Some(tokens) = &tokens {
        let keys = tokens.keys().clone();
        let fetch = UntilStopped(move || keys.clone().follow());
        server.add_service(background_service("keys of tokens", fetch));
    }
    let decisions = Arc::new(Decisions {
        traffic: Arc::clone(&traffic),
        pools: Arc::clone(&pools),
        telemetry: Arc::clone(&telemetry),
        outliers,
        guards: Guards::default(),
        clients: RateLimiter::default(),
        requests: Arc::default(),
        streams: Arc::default(),
        draining: Arc::clone(&draining),
        tokens,
    });
    let plain = PlainExchange::new(Arc::clone(&decisions), most);
    let proxy = http_proxy(&server.configuration, proxy::DataPlane(decisions));
    let connections =
        Connections::new(most, plain, proxy, traffic, Arc::clone(&telemetry), handed_over.clone())
            .with_tls(config.server.tls.as_ref());
    if let Some(certificate) = &config.server.tls {
        let certificate = certificate.clone();
        let read_again = UntilStopped(move || certificate.clone().follow());
        server.add_service(background_service("certificate", read_again));
    }
    let service = BoundService::new("data plane", connections, listener, handed_over.clone())
        .map_err(no_data)?;
    let addr = service.addr();
    let serving = server.add_service(service);
    let first = FirstChecks {
        needed: old_process.as_ref().map(|old_process| old_process.healthy().to_vec()),
        main: sender.clone(),
    };
    let (health, discovery) = (reloader.health(), reloader.discovery());
    let checks = HealthCheckService {
        pools,
        config: health,
        discovery,
        telemetry: Arc::clone(&telemetry),
        first,
        identity,
    };
    let checking = server.add_service(background_service("health checks", checks));
    server.add_service(background_service("outlier ejection", ejector));
    // Requests wait in the listener's queue until the first checks are done: with half of the
    // members, homes would be wrong.
    serving.add_dependency(&checking);
    Ok(Gateway {
        addr,
        server,
        control,
        telemetry,
        pre_stop_delay: config.server.pre_stop_delay,
        grace_period: config.server.grace_period,
        state_file,
        reloader,
        upgrade_sock: config.server.upgrade_sock,
        old_process,
        handed_over,
        draining,
        sender,
        lifecycle,
    })
}

impl Gateway {
    /// The data plane's bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The control plane's bound address.
    pub fn control_addr(&self) -> SocketAddr {
        self.control.addr()
    }

    /// The bound address of the metrics listener, if configured.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.control.metrics_addr()
    }

    /// Runs until SIGTERM (drains), SIGINT (stops at once) or a hot restart (drains). SIGHUP
    /// reloads.
    ///
    /// # Errors
    /// When the hot restart failed.
    pub fn run_until_stopped(self) -> Result<(), UpgradeError> {
        self.run(UnixShutdownSignalWatch)
    }

    /// Runs until the signal.
    ///
    /// Pingora's shutdown sleeps for the whole grace period even when idle, so it runs in a thread
    /// that is abandoned when the last request has ended.
    ///
    /// # Errors
    /// When the hot restart failed.
    pub fn run(
        self,
        signal: impl ShutdownSignalWatch + Send + Sync + 'static,
    ) -> Result<(), UpgradeError> {
        let Self {
            addr,
            mut server,
            control,
            telemetry,
            pre_stop_delay,
            grace_period,
            sender,
            lifecycle,
            ..
        } = self;
        tracing::info!(%addr, control = %control.addr(), "listening");
        server.add_service(background_service("stop watch", StopWatch { main: sender.clone() }));
        server.add_service(background_service(
            "reload by SIGHUP",
            ReloadWatch { reloader: self.reloader },
        ));
        let signal = Signals {
            inner: signal,
            pre_stop_delay,
            main: sender.clone(),
            handed_over: self.handed_over,
            draining: self.draining,
        };
        thread::spawn(move || {
            server.run(RunArgs { shutdown_signal: Box::new(signal) });
            let _main_ended = sender.send(LifecycleEvent::Stopped);
        });
        if let Some(old_process) = self.old_process {
            match lifecycle.recv() {
                Ok(LifecycleEvent::Checked(Checked { go, unhealthy: None })) => {
                    old_process.take_over()?;
                    let _stopping_already = go.send(());
                    tracing::info!("took over");
                }
                Ok(LifecycleEvent::Checked(Checked { unhealthy: Some(pool), .. })) => {
                    return Err(UpgradeError::Unhealthy(pool.to_string()));
                }
                // Stopped before the takeover.
                _ => return Ok(()),
            }
        }
        if let Some(path) = &self.upgrade_sock {
            upgrade::publish(path)?;
        }

        let mut control = Some(control.start());
        let mut linger = Duration::ZERO;
        let mut draining = false;
        let mut stopped = false;
        while !stopped {
            match lifecycle.recv() {
                Ok(LifecycleEvent::HandOver(HandOver { done })) => {
                    if let Some(control) = control.take() {
                        control.drain();
                        control.stop();
                    }
                    self.state_file.hand_over();
                    linger = IDLE_LINGER;
                    let _ended_already = done.send(());
                }
                Ok(LifecycleEvent::PreStop) => {
                    tracing::info!(
                        seconds = pre_stop_delay.as_secs(),
                        "pre-stop delay: readiness fails"
                    );
                    control.iter().for_each(control::Running::drain);
                    draining = true;
                }
                Ok(LifecycleEvent::StopBegun) => {
                    tracing::info!("stopping");
                    if !draining {
                        control.iter().for_each(control::Running::drain);
                    }
                    wait_for_last_request(&lifecycle, &telemetry, linger, grace_period);
                    stopped = true;
                }
                // Only a hot restart waits for it.
                Ok(LifecycleEvent::Checked(_)) => {}
                Ok(LifecycleEvent::Stopped) | Err(_) => stopped = true,
            }
        }
        control.into_iter().for_each(control::Running::stop);
        self.state_file.close();
        match telemetry.metrics.active() {
            0 => tracing::info!(cut_off = 0, "stopped"),
            cut_off => tracing::warn!(
                cut_off,
                "stopped; requests were aborted at the end of the grace period"
            ),
        }
        Ok(())
    }
}

/// Returns when no request is in flight and the linger is over, or after the grace period.
fn wait_for_last_request(
    lifecycle: &mpsc::Receiver<LifecycleEvent>,
    telemetry: &Telemetry,
    linger: Duration,
    grace_period: Duration,
) {
    let begun = Instant::now();
    let mut idle_polls = 0;
    // Twice in a row, because a request may be between the listener's queue and the counter.
    while (idle_polls < 2 || begun.elapsed() < linger) && begun.elapsed() < grace_period {
        match lifecycle.recv_timeout(DRAIN_POLL) {
            Err(RecvTimeoutError::Timeout) if telemetry.metrics.active() == 0 => idle_polls += 1,
            Err(RecvTimeoutError::Timeout) => idle_polls = 0,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// Keeps at most `most` connections to instances.
fn server_conf(config: &Config, most: usize) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // Each thread keeps its connections; work stealing costs more than it gains.
        work_stealing: false,
        // Of each thread.
        upstream_keepalive_pool_size: most.div_ceil(config.server.threads),
        // `proxy/retry.rs` applies the configured limit.
        max_retries: MAX_ATTEMPTS as usize,
        ca_file: config
            .identity()
            .tls
            .values()
            .find_map(|tls| tls.ca_file().map(|file| file.to_string_lossy().into_owned())),
        grace_period_seconds: Some(config.server.grace_period.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}
