//! The successor's side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_contracts::PoolName;

use crate::server::listener;
use crate::server::upgrade::error::UpgradeError;
use crate::server::upgrade::wire;

/// How long the gateway in office may take for each answer. It closes its control plane before the last one, where requests
/// have 2 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway in office that has offered its listeners.
#[derive(Debug)]
pub struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    healthy: Vec<PoolName>,
    listeners: Vec<TcpListener>,
}

impl Predecessor {
    /// Asks the gateway that runs for its listeners; `None` when none runs.
    ///
    /// # Errors
    /// When one runs and does not offer them.
    pub fn find(path: &Path) -> Result<Option<Self>, UpgradeError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // The socket of a gateway that has ended may be left.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(source) => return Err(UpgradeError::Socket { path: path.to_owned(), source }),
        };
        let offered = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| wire::receive(&stream));
        match offered {
            Ok((offer, listeners)) => {
                Ok(Some(Self { path: path.to_owned(), stream, healthy: offer.healthy, listeners }))
            }
            Err(error) => Err(UpgradeError::Refused(error.to_string())),
        }
    }

    /// The pools in which it has healthy instances.
    pub(in crate::server) fn healthy(&self) -> &[PoolName] {
        &self.healthy
    }

    /// Its listener for this address, when it has that one.
    pub(in crate::server) fn listener(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let is_it = |listener: &TcpListener| listener.local_addr().is_ok_and(|addr| addr == wanted);
        let place = self.listeners.iter().position(is_it)?;
        Some(self.listeners.swap_remove(place))
    }

    /// Takes the office: from now on the other neither serves new connections, nor its control plane, nor writes the state.
    pub(in crate::server) fn take_office(mut self) -> Result<(), UpgradeError> {
        let socket = |source| UpgradeError::Socket { path: self.path.clone(), source };
        self.stream.write_all(&[wire::READY]).map_err(socket)?;
        let mut answer = [0];
        match self.stream.read_exact(&mut answer) {
            Ok(()) if answer == [wire::YOURS] => Ok(()),
            Ok(()) => Err(UpgradeError::Refused("it answers with another word".to_owned())),
            Err(error) => Err(UpgradeError::Refused(error.to_string())),
        }
    }
}

/// The listener for this address: the running gateway's, or a new one.
pub(in crate::server) fn listener(
    predecessor: Option<&mut Predecessor>,
    wanted: SocketAddr,
) -> io::Result<TcpListener> {
    match predecessor.and_then(|predecessor| predecessor.listener(wanted)) {
        Some(inherited) => Ok(inherited),
        None => listener::bind(wanted),
    }
}
