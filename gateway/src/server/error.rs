//! Why a gateway cannot be built.

use std::io;
use std::net::SocketAddr;

use crate::descriptors::TooFewDescriptors;
use crate::pool::state_file::StateFileError;
use crate::server::upgrade::UpgradeError;

/// The gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The data plane's address cannot be bound.
    #[error("cannot listen on {addr} ([server] listen)")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The control plane's address cannot be bound.
    #[error("cannot listen on {addr} ([control] listen)")]
    Control {
        /// The address.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The address of the metrics cannot be bound.
    #[error("cannot listen on {addr} ([control] metrics_listen)")]
    Metrics {
        /// The address.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The limit of file descriptors is too low.
    #[error("the limit of file descriptors is too low")]
    Descriptors(#[from] TooFewDescriptors),
    /// A hot restart needs the socket.
    #[error("--upgrade needs [server] upgrade_sock, the same as the running gateway's")]
    NoUpgradeSocket,
    /// The hot restart failed.
    #[error("the upgrade failed ([server] upgrade_sock)")]
    Upgrade(#[from] UpgradeError),
    /// The state file is not usable.
    #[error("cannot open the state file ([server] state_file)")]
    StateFile(#[from] StateFileError),
    /// A metric was registered twice.
    #[error("the metrics cannot be registered")]
    Registry(#[from] prometheus::Error),
}
