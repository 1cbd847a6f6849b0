//! Why a hot restart fails.

use std::io;
use std::path::PathBuf;

/// The hot restart failed.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Other users can access the socket's folder, and could take the listeners.
    #[error(
        "the folder of {path} must be private to this user: chmod 700 {folder}",
        folder = .path.parent().unwrap_or(.path).display()
    )]
    Public {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not usable.
    #[error("cannot use the socket {path}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The old process sent an unexpected reply, or none.
    #[error("the old process did not hand over: {0}; it keeps serving")]
    Refused(String),
    /// The new process finds no healthy instance in a pool where the old one has some.
    #[error(
        "the new process finds no healthy instance in the {0} pool, but the old process does; the \
         old process keeps serving"
    )]
    Unhealthy(String),
}
