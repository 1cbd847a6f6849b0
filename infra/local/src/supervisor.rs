//! The supervisor: the long-lived process that owns a kept stack, and how others find it.

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
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Supervised};
use crate::plan::{self, Extent, Gateways, Store, Topology};
use crate::ports::{self, Ports, loopback};
use crate::secrets;
use crate::stack::{Stack, urls};

/// How long the lock may be held by others before it is a supervisor that holds it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// What a kept stack is to be.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Instances of the stateless service.
    #[arg(long, default_value_t = 2)]
    pub(crate) stateless: u16,
    /// Instances of the stateful service.
    #[arg(long, default_value_t = 3)]
    pub(crate) stateful: u16,
    /// Where the stateful service keeps its sessions.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) store: Store,
    /// How many servers hold the sessions.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) redis: Topology,
    /// How many gateways stand behind Nginx.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) gateways: Gateways,
    /// Added to every port of the design.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub(crate) port_offset: u16,
    /// Where traces are sent, if anywhere.
    #[arg(long)]
    pub(crate) otlp: Option<String>,
    /// Whether clients may pick the strategy of a request.
    #[arg(long)]
    pub(crate) lab: bool,
}

/// How others find a running supervisor. The file may be stale; the lock beside it is the truth.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    pub(crate) pid: i32,
    pub(crate) agent: SocketAddr,
}

/// Finds the supervisor of a state folder; `None` when none runs.
pub(crate) fn find(state: &Path) -> Result<Option<Whereabouts>> {
    if try_lock(state)?.is_some() {
        return Ok(None);
    }
    let text = fs::read(whereabouts_file(state)).context("a supervisor is just starting or ending; try again")?;
    Ok(Some(serde_json::from_slice(&text).context("a supervisor is just starting; try again")?))
}

/// Takes the supervisor's lock, which ends with its holder in whatever way that ends; `None`: another has it.
pub(crate) fn try_lock(state: &Path) -> Result<Option<File>> {
    make_state(state)?;
    let path = state.join("supervisor.lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Takes the lock for as long as this process lives. Those who look whether it is held hold it for a moment themselves.
async fn take_lock(state: &Path) -> Result<File> {
    let begin = Instant::now();
    loop {
        match try_lock(state)? {
            Some(lock) => return Ok(lock),
            None if begin.elapsed() > LOCK_PATIENCE => bail!("another supervisor has {}", state.display()),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The supervisor's log: its progress, and why it failed.
pub(crate) fn log_file(state: &Path) -> PathBuf {
    plan::log_file(state, "supervisor")
}

fn make_state(state: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(state);
    made.and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("logs")))
        .with_context(|| format!("cannot make {}", state.display()))
}

fn whereabouts_file(state: &Path) -> PathBuf {
    state.join("supervisor.json")
}

/// Owns a stack until it is told to end it. Its output is its log.
///
/// # Errors
/// Why the stack, or its agent, could not be started.
pub(crate) async fn run(state: PathBuf, options: Options) -> Result<()> {
    // Its own session: neither Ctrl-C nor the end of the terminal that started it is its own end. The leader of a
    // group cannot have one; then it was started by hand, in the foreground, and should hear both.
    let _ = nix::unistd::setsid();
    let _lock = take_lock(&state).await?;
    let ports = Ports::fixed(options.port_offset);
    ports::require_free(ports.agent, "the agent")?;
    let agent = loopback(ports.agent);
    let listener = TcpListener::bind(agent).with_context(|| format!("cannot listen on {agent}"))?;
    let whereabouts = Whereabouts { pid: nix::unistd::getpid().as_raw(), agent };
    fs::write(whereabouts_file(&state), serde_json::to_vec(&whereabouts)?).context("cannot write supervisor.json")?;

    let plan = Stack::kept_in(&state)
        .stateless(options.stateless)
        .stateful(options.stateful)
        .store(options.store)
        .redis(options.redis)
        .gateways(options.gateways)
        .ports(ports.clone())
        .progress(Arc::new(note));
    let plan = if options.lab { plan.open_lab() } else { plan };
    let plan = match &options.otlp {
        Some(collector) => plan.traces_to(collector),
        None => plan,
    };
    let supervised = Arc::new(Supervised {
        stack: OnceLock::new(),
        outline: StackStatus {
            phase: Phase::Starting,
            store: options.store.as_str().to_owned(),
            redis: options.redis.as_str().to_owned(),
            port_offset: options.port_offset,
            otlp: options.otlp.clone(),
            lab: options.lab,
            urls: urls(&ports, Extent::Monitoring, options.gateways),
            ca_file: state.join("tls/ca.pem").display().to_string(),
            control_token_file: secrets::control_token_file(&state).display().to_string(),
            components: Vec::new(),
        },
        phase: watch::Sender::new(Phase::Starting),
        token: secrets::load_or_make(&secrets::agent_token_file(&state))?,
        shutdown: CancellationToken::new(),
    });
    let server = agent::serve(listener, Arc::clone(&supervised)).context("the agent cannot serve")?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    cancel_on_signal(&supervised.shutdown)?;

    tokio::select! {
        stack = plan.start() => {
            let stack = stack?;
            let stack = supervised.stack.get_or_init(|| stack);
            supervised.phase.send_replace(Phase::Ready);
            note("ready");
            tokio::select! {
                () = supervised.shutdown.cancelled() => {}
                never = stack.keep_up() => match never {},
            }
            supervised.phase.send_replace(Phase::Stopping);
            note("ending");
            stack.end_all().await;
        }
        () = supervised.shutdown.cancelled() => note("ended before it was ready"),
    }
    handle.stop(true).await;
    server.await.context("the agent has failed")??;
    note("ended");
    Ok(())
}

/// The service manager's and the keyboard's ways to say what `down` says.
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
    // A full disk must not end what runs.
    let _ = writeln!(io::stdout().lock(), "{:.0} {line}", Timestamp::now());
}
