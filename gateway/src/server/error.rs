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
        /// Which address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control plane's address cannot be bound.
    #[error("cannot listen on {addr} ([control] listen)")]
    Control {
        /// Which address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address of the metrics cannot be bound.
    #[error("cannot listen on {addr} ([control] metrics_listen)")]
    Metrics {
        /// Which address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are too few descriptors for the connections.
    #[error("the limit of descriptors is too low")]
    Descriptors(#[from] TooFewDescriptors),
    /// There is no way to find the gateway to succeed.
    #[error("--upgrade needs [server] upgrade_sock, the same as the running gateway's")]
    NoUpgradeSocket,
    /// The upgrade cannot begin.
    #[error("the upgrade failed ([server] upgrade_sock)")]
    Upgrade(#[from] UpgradeError),
    /// The state file cannot be used.
    #[error("the control API's changes cannot be kept ([server] state_file)")]
    StateFile(#[from] StateFileError),
    /// A metric was registered twice.
    #[error("the metrics cannot be registered")]
    Registry(#[from] prometheus::Error),
}
