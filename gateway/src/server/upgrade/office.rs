//! The side of the gateway in office.

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

/// How long a successor may take to check its instances: six intervals of the default health checks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the main thread to let go of everything but the connections that there are.
pub(in crate::server) struct HandOver {
    /// Answered when that is done.
    pub(in crate::server) done: oneshot::Sender<()>,
}

/// What a successor is given.
pub(in crate::server) struct Assets {
    /// The listeners of the data plane, of the control plane, and of the metrics where there is one.
    pub(in crate::server) listeners: Vec<TcpListener>,
    /// Their health is told.
    pub(in crate::server) pools: Arc<Pools>,
    /// Set while a successor is starting: what is changed then would be lost, so nothing is.
    pub(in crate::server) succession: Arc<AtomicBool>,
    /// A successor reads it: no change may be half written then.
    pub(in crate::server) state_file: Arc<StateFile>,
}

/// Waits for a successor on the socket.
pub(in crate::server) struct Office<M> {
    seat: Mutex<Option<Seat>>,
    main: mpsc::Sender<M>,
    handed_over: watch::Sender<bool>,
}

struct Seat {
    path: PathBuf,
    listener: StdListener,
    assets: Assets,
}

impl<M: From<HandOver> + Send + 'static> Office<M> {
    /// Opens the socket beside its place, where no successor finds it before the gateway is [in office](Self::publish).
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
        let seat = Seat { path: path.to_owned(), listener, assets };
        Ok(Self { seat: Mutex::new(Some(seat)), main, handed_over })
    }
}

/// Puts the socket in its place, in the stead of a predecessor's.
pub(in crate::server) fn publish(path: &Path) -> Result<(), UpgradeError> {
    fs::rename(beside(path), path).map_err(|source| UpgradeError::Socket { path: path.to_owned(), source })
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

/// Whoever can connect gets the listeners, so the folder is closed to others.
fn make_private_folder(path: &Path) -> Result<(), UpgradeError> {
    let socket = |source| UpgradeError::Socket { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(socket)?;
    let mode = fs::metadata(folder).map_err(socket)?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(UpgradeError::Public { path: path.to_owned() }) }
}

#[async_trait]
impl<M: From<HandOver> + Send + 'static> BackgroundService for Office<M> {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Owned by this call: with its end the copies of the listeners are closed, so that a gateway that stops without a
        // successor refuses connections at once.
        let Some(seat) = self.seat.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let listener = match UnixListener::from_std(seat.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "no successor can take over"),
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            };
            let Ok((successor, _)) = accepted else { continue };
            tracing::info!(path = %seat.path.display(), "a successor is starting");
            seat.assets.succession.store(true, Ordering::Release);
            let state_file = Arc::clone(&seat.assets.state_file);
            let frozen = tokio::task::spawn_blocking(move || state_file.freeze()).await;
            if let Err(error) = frozen {
                tracing::error!(%error, "the state file cannot be kept still for a successor");
            }
            let outcome = tokio::select! {
                outcome = self.hand_over(successor, &seat.assets) => outcome,
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            };
            match outcome {
                Ok(()) => {
                    tracing::info!("handed over to the successor");
                    self.handed_over.send_replace(true);
                    return;
                }
                Err(error) => {
                    seat.assets.succession.store(false, Ordering::Release);
                    seat.assets.state_file.thaw();
                    tracing::warn!(%error, "the successor has ended before it was ready; this gateway goes on");
                }
            }
        }
    }
}

impl<M: From<HandOver> + Send + 'static> Office<M> {
    async fn hand_over(&self, successor: UnixStream, assets: &Assets) -> io::Result<()> {
        let listeners: Vec<_> = assets.listeners.iter().map(AsFd::as_fd).collect();
        // The kernel takes so little at once.
        let mut successor = {
            let stream = successor.into_std()?;
            wire::send(&stream, &wire::Offer { healthy: healthy(&assets.pools) }, &listeners)?;
            UnixStream::from_std(stream)?
        };
        let word = timeout(PATIENCE, successor.read_u8()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if word != wire::READY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (done, let_go) = oneshot::channel();
        self.main.send(HandOver { done }.into()).map_err(|_| io::Error::other("the main thread has ended"))?;
        let_go.await.map_err(io::Error::other)?;
        // A successor that ends in this very moment leaves this gateway without a control plane, but serving.
        successor.write_all(&[wire::YOURS]).await
    }
}

/// The pools that have a healthy instance.
fn healthy(pools: &Pools) -> Vec<PoolName> {
    let has_one = |slots: &[crate::pool::Slot]| slots.iter().any(|slot| slot.state() == InstanceState::Healthy);
    pools.iter().filter(|pool| pool.slots(has_one)).map(|pool| pool.name()).collect()
}
