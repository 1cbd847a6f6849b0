//! The supervisor: the long-lived process that owns a kept stack.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use proto_contracts::agent::{Phase, StackStatus};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Supervised};
use crate::class::Classroom;
use crate::ports::{self, Ports, loopback};
use crate::secrets;
use crate::settings;
use crate::stack::Stack;
use crate::topology::{Extent, Gateways, Store, Topology};
use crate::urls;

/// How long to wait for the lock: processes that look for a supervisor hold it for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of a kept stack.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Instances of the stateless service.
    #[arg(long, default_value_t = 2)]
    pub(crate) stateless: u16,
    /// Instances of the stateful service.
    #[arg(long, default_value_t = 3)]
    pub(crate) stateful: u16,
    /// Session store of the stateful service.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) store: Store,
    /// Redis topology of the sessions.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) redis: Topology,
    /// Number of gateways behind Nginx.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) gateways: Gateways,
    /// Whether PostgreSQL has a standby.
    #[arg(long)]
    pub(crate) replica: bool,
    /// With TLS between all tiers.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Added to every default port.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub(crate) port_offset: u16,
    /// Trace collector.
    #[arg(long)]
    pub(crate) otlp: Option<String>,
    /// Whether clients may override a request's strategy.
    #[arg(long)]
    pub(crate) lab: bool,
    /// With the traffic driver.
    #[arg(long)]
    pub(crate) driver: bool,
    /// The classroom.
    #[command(flatten)]
    pub(crate) class: Classroom,
}

/// Describes a running supervisor. The file may be stale; the lock file decides whether one runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SupervisorInfo {
    pub(crate) pid: i32,
    pub(crate) agent: SocketAddr,
}

/// The supervisor of a state folder; `None` when none runs.
pub(crate) fn find(state: &Path) -> Result<Option<SupervisorInfo>> {
    if try_lock(state)?.is_some() {
        return Ok(None);
    }
    let text =
        fs::read(info_file(state)).context("a supervisor is starting or stopping; try again")?;
    Ok(Some(serde_json::from_slice(&text).context("a supervisor is starting; try again")?))
}

/// Acquires the supervisor's lock, which the kernel releases when the process ends; `None` when
/// another process holds it.
pub(crate) fn try_lock(state: &Path) -> Result<Option<File>> {
    make_state(state)?;
    let path = state.join("supervisor.lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Acquires the lock for the life of this process. Processes that probe it hold it for a moment.
async fn take_lock(state: &Path) -> Result<File> {
    let begin = Instant::now();
    loop {
        match try_lock(state)? {
            Some(lock) => return Ok(lock),
            None if begin.elapsed() > LOCK_TIMEOUT => {
                bail!("another supervisor uses {}", state.display())
            }
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The supervisor's log: progress and errors.
pub(crate) fn log_file(state: &Path) -> PathBuf {
    settings::log_file(state, "supervisor")
}

fn make_state(state: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(state);
    made.and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("logs")))
        .with_context(|| format!("cannot make {}", state.display()))
}

fn info_file(state: &Path) -> PathBuf {
    state.join("supervisor.json")
}

/// Runs a stack until it is shut down. Standard output is the log.
///
/// # Errors
/// Why the stack, or its agent, could not be started.
pub(crate) async fn run(state: PathBuf, options: Options) -> Result<()> {
    // A new session, so that Ctrl-C and a closed terminal don't stop it. That fails for a group
    // leader, which was started by hand in the foreground and should be stopped by both.
    let _ = nix::unistd::setsid();
    let _lock = take_lock(&state).await?;
    let ports = Ports::fixed(options.port_offset);
    ports::require_free(ports.agent, "the agent")?;
    let agent = loopback(ports.agent);
    let listener = TcpListener::bind(agent).with_context(|| format!("cannot listen on {agent}"))?;
    let info = SupervisorInfo { pid: nix::unistd::getpid().as_raw(), agent };
    fs::write(info_file(&state), serde_json::to_vec(&info)?)
        .context("cannot write supervisor.json")?;

    let plan = Stack::kept_in(&state)
        .stateless(options.stateless)
        .stateful(options.stateful)
        .store(options.store)
        .redis(options.redis)
        .gateways(options.gateways)
        .class(options.class.clone())
        .ports(ports.clone())
        .progress(Arc::new(note));
    let plan = if options.replica { plan.with_replica() } else { plan };
    let plan = if options.tls { plan.with_tls() } else { plan };
    let plan = if options.lab { plan.open_lab() } else { plan };
    let plan = if options.driver { plan.with_driver() } else { plan };
    let plan = match &options.otlp {
        Some(collector) => plan.traces_to(collector),
        None => plan,
    };
    let token = secrets::load_or_make(&secrets::agent_token_file(&state))?;
    // For the board's lab. Each gateway has it.
    let plan = plan.env("gateway", "GATEWAY_AGENT", agent.to_string()).env(
        "gateway",
        "AGENT_TOKEN",
        token.expose_secret(),
    );
    let supervised = Arc::new(Supervised {
        stack: OnceLock::new(),
        outline: StackStatus {
            phase: Phase::Starting,
            store: options.store.as_str().to_owned(),
            redis: options.redis.as_str().to_owned(),
            port_offset: options.port_offset,
            otlp: options.otlp.clone(),
            lab: options.lab,
            urls: urls::of(
                &ports,
                Extent::Monitoring,
                options.gateways,
                &options.class,
                if options.tls { "https" } else { "http" },
            ),
            ca_file: state.join("tls/ca.pem").display().to_string(),
            control_token_file: secrets::control_token_file(&state).display().to_string(),
            components: Vec::new(),
        },
        phase: watch::Sender::new(Phase::Starting),
        token,
        shutdown: CancellationToken::new(),
    });
    let server =
        agent::serve(listener, Arc::clone(&supervised)).context("the agent cannot serve")?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    cancel_on_signal(&supervised.shutdown)?;

    tokio::select! {
        stack = plan.start() => {
            let stack = stack?;
            let stack = supervised.stack.get_or_init(|| stack);
            tokio::select! {
                created = stack.create_admin() => created.iter().for_each(|line| note(line)),
                () = supervised.shutdown.cancelled() => {}
            }
            supervised.phase.send_replace(Phase::Ready);
            note("ready");
            tokio::select! {
                () = supervised.shutdown.cancelled() => {}
                never = stack.restart_failed() => match never {},
            }
            supervised.phase.send_replace(Phase::Stopping);
            note("stopping");
            stack.end_all().await;
        }
        () = supervised.shutdown.cancelled() => note("stopped before it was ready"),
    }
    handle.stop(true).await;
    server.await.context("the agent failed")??;
    note("stopped");
    Ok(())
}

/// SIGTERM and SIGINT stop the stack like `down`.
fn cancel_on_signal(shutdown: &CancellationToken) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, shutdown) = (signal(kind)?, shutdown.clone());
        tokio::spawn(async move {
            signals.recv().await;
            shutdown.cancel();
        });
    }
    Ok(())
}

/// Writes one line into the supervisor's log, which is its standard output.
fn note(line: &str) {
    // A full disk must not stop the stack.
    let _ = writeln!(io::stdout().lock(), "{:.0} {line}", Timestamp::now());
}
