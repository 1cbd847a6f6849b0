//! Hot restart: the side of the new process.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_contracts::PoolName;

use crate::server::listener;
use crate::server::upgrade::error::UpgradeError;
use crate::server::upgrade::wire;

/// Timeout of each reply. Before the last one the old process closes its control plane, which takes
/// up to 2 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The old process, after it sent its listeners.
#[derive(Debug)]
pub struct OldProcess {
    path: PathBuf,
    stream: UnixStream,
    healthy: Vec<PoolName>,
    listeners: Vec<TcpListener>,
}

impl OldProcess {
    /// Requests the listeners of the old process; `None` when there is none.
    ///
    /// # Errors
    /// When there is one and it does not send them.
    pub fn find(path: &Path) -> Result<Option<Self>, UpgradeError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // A stopped gateway may leave its socket.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(UpgradeError::Socket { path: path.to_owned(), source }),
        };
        let offered = stream
            .set_read_timeout(Some(RESPONSE_TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(RESPONSE_TIMEOUT)))
            .and_then(|()| wire::receive(&stream));
        match offered {
            Ok((offer, listeners)) => {
                Ok(Some(Self { path: path.to_owned(), stream, healthy: offer.healthy, listeners }))
            }
            Err(error) => Err(UpgradeError::Refused(error.to_string())),
        }
    }

    /// The pools in which the old process has healthy instances.
    pub(in crate::server) fn healthy(&self) -> &[PoolName] {
        &self.healthy
    }

    /// The listener for this address, if it was sent.
    pub(in crate::server) fn listener(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let is_it = |listener: &TcpListener| listener.local_addr().is_ok_and(|addr| addr == wanted);
        let place = self.listeners.iter().position(is_it)?;
        Some(self.listeners.swap_remove(place))
    }

    /// Takes over: from now on the old process accepts no connections, has no control plane and
    /// writes no state.
    pub(in crate::server) fn take_over(mut self) -> Result<(), UpgradeError> {
        let socket = |source| UpgradeError::Socket { path: self.path.clone(), source };
        self.stream.write_all(&[wire::READY]).map_err(socket)?;
        let mut reply = [0];
        match self.stream.read_exact(&mut reply) {
            Ok(()) if reply == [wire::RELEASED] => Ok(()),
            Ok(()) => Err(UpgradeError::Refused("unexpected reply".to_owned())),
            Err(error) => Err(UpgradeError::Refused(error.to_string())),
        }
    }
}

/// The listener for this address: inherited or new.
pub(in crate::server) fn listener(
    old_process: Option<&mut OldProcess>,
    wanted: SocketAddr,
) -> io::Result<TcpListener> {
    match old_process.and_then(|old_process| old_process.listener(wanted)) {
        Some(inherited) => Ok(inherited),
        None => listener::bind(wanted),
    }
}
