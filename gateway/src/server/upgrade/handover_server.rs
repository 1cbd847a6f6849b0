//! Hot restart: the side of the old process.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::pool::Pools;
use crate::pool::state_file::StateFile;
use crate::server::upgrade::error::UpgradeError;
use crate::server::upgrade::wire;

/// How long the new process may take to check its instances.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests the main thread to release everything but open connections.
pub(in crate::server) struct HandOver {
    /// Completed when that is done.
    pub(in crate::server) done: oneshot::Sender<()>,
}

/// What the new process receives, and what must stop for it.
pub(in crate::server) struct Assets {
    /// The listeners of the data plane, of the control plane, and of the metrics where there is
    /// one.
    pub(in crate::server) listeners: Vec<TcpListener>,
    /// The pools, whose health is sent along.
    pub(in crate::server) pools: Arc<Pools>,
    /// Set while a new process starts: changes are rejected, because they would be lost.
    pub(in crate::server) upgrading: Arc<AtomicBool>,
    /// Frozen meanwhile, because the new process reads it.
    pub(in crate::server) state_file: Arc<StateFile>,
}

/// Waits for a new process on the socket.
pub(in crate::server) struct HandoverServer<M> {
    socket: Mutex<Option<Handover>>,
    main: mpsc::Sender<M>,
    handed_over: watch::Sender<bool>,
}

struct Handover {
    path: PathBuf,
    listener: StdListener,
    assets: Assets,
}

impl<M: From<HandOver> + Send + 'static> HandoverServer<M> {
    /// Opens the socket under a temporary name until it is [published](publish).
    pub(in crate::server) fn open(
        path: &Path,
        assets: Assets,
        main: mpsc::Sender<M>,
        handed_over: watch::Sender<bool>,
    ) -> Result<Self, UpgradeError> {
        let socket = |source| UpgradeError::Socket { path: path.to_owned(), source };
        make_private_folder(path)?;
        let beside = beside(path);
        remove(&beside).map_err(socket)?;
        let listener = StdListener::bind(&beside).map_err(socket)?;
        listener.set_nonblocking(true).map_err(socket)?;
        let handover = Handover { path: path.to_owned(), listener, assets };
        Ok(Self { socket: Mutex::new(Some(handover)), main, handed_over })
    }
}

/// Moves the socket to its place, replacing the old process's.
pub(in crate::server) fn publish(path: &Path) -> Result<(), UpgradeError> {
    fs::rename(beside(path), path)
        .map_err(|source| UpgradeError::Socket { path: path.to_owned(), source })
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.new", std::process::id()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder is private, because whoever can connect receives the listeners.
fn make_private_folder(path: &Path) -> Result<(), UpgradeError> {
    let socket = |source| UpgradeError::Socket { path: path.to_owned(), source };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(socket)?;
    let mode = fs::metadata(folder).map_err(socket)?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(UpgradeError::Public { path: path.to_owned() }) }
}

#[async_trait]
impl<M: From<HandOver> + Send + 'static> BackgroundService for HandoverServer<M> {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Owned by this call, whose end closes the copies of the listeners, so that a gateway that
        // stops without a new process rejects connections at once.
        let Some(handover) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        let listener = match UnixListener::from_std(handover.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "hot restart is not available"),
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            };
            let Ok((new_process, _)) = accepted else { continue };
            tracing::info!(path = %handover.path.display(), "a new process is starting");
            handover.assets.upgrading.store(true, Ordering::Release);
            let state_file = Arc::clone(&handover.assets.state_file);
            let frozen = tokio::task::spawn_blocking(move || state_file.freeze()).await;
            if let Err(error) = frozen {
                tracing::error!(%error, "the state file cannot be frozen for the hot restart");
            }
            let outcome = tokio::select! {
                outcome = self.hand_over(new_process, &handover.assets) => outcome,
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            };
            match outcome {
                Ok(()) => {
                    tracing::info!("handed over to the new process");
                    self.handed_over.send_replace(true);
                    return;
                }
                Err(error) => {
                    handover.assets.upgrading.store(false, Ordering::Release);
                    handover.assets.state_file.thaw();
                    tracing::warn!(
                        %error,
                        "the new process ended before it was ready; this process keeps serving"
                    );
                }
            }
        }
    }
}

impl<M: From<HandOver> + Send + 'static> HandoverServer<M> {
    async fn hand_over(&self, new_process: UnixStream, assets: &Assets) -> io::Result<()> {
        let listeners: Vec<_> = assets.listeners.iter().map(AsFd::as_fd).collect();
        // A blocking write is fine: the socket's buffer holds the offer.
        let mut new_process = {
            let stream = new_process.into_std()?;
            wire::send(&stream, &wire::Offer { healthy: healthy(&assets.pools) }, &listeners)?;
            UnixStream::from_std(stream)?
        };
        let reply = timeout(READY_TIMEOUT, new_process.read_u8())
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        if reply != wire::READY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (done, let_go) = oneshot::channel();
        self.main
            .send(HandOver { done }.into())
            .map_err(|_| io::Error::other("the main thread has ended"))?;
        let_go.await.map_err(io::Error::other)?;
        // If the new process ends now, this one has no control plane but keeps serving.
        new_process.write_all(&[wire::RELEASED]).await
    }
}

/// The pools that have a healthy instance.
fn healthy(pools: &Pools) -> Vec<PoolName> {
    let has_one = |hosts: &[crate::pool::Host]| {
        hosts.iter().any(|host| host.state() == InstanceState::Healthy)
    };
    pools.iter().filter(|pool| pool.hosts(has_one)).map(|pool| pool.name()).collect()
}
