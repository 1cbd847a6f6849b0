//! The upgrade of a running gateway: another process takes its place without a connection being refused.
//!
//! The gateway in office listens on a Unix socket (`[server] upgrade_sock`). A successor, started with `--upgrade`,
//! connects there and is given both listening sockets. It loads the state, checks the health of every instance and then
//! says `ready`; until it does, the office stays where it is, and a successor that ends before that changes nothing. The
//! gateway in office then closes its control plane, writes no state any more and answers `yours`. From there on the
//! successor alone answers new connections; the other finishes what it has and ends.
//!
//! Pingora's own way gives the sockets up blindly: its old process stops five seconds after it has sent them, whether or not
//! the new one is well. See `docs/adr` on upgrades.

mod office;
mod successor;
mod wire;

use std::io;
use std::path::PathBuf;

pub use successor::Predecessor;

pub(super) use office::{Assets, HandOver, Office, publish};
pub(super) use successor::listener;

/// The upgrade cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The folder of the socket lets others in, who could take the listening sockets.
    #[error("the folder of {path} must be this user's alone: chmod 700 {folder}", folder = .path.parent().unwrap_or(.path).display())]
    Public {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be made or used.
    #[error("cannot use the socket {path}")]
    Socket {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The gateway in office says something else than expected, or nothing.
    #[error("the running gateway does not hand over: {0}; it goes on by itself")]
    Refused(String),
    /// This process finds no healthy instance where the running gateway finds some.
    #[error(
        "no instance of the {0} pool is healthy for this process, although the running gateway has some; it goes on by itself"
    )]
    Unhealthy(String),
}
