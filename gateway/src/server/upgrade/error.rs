//! Why an upgrade does not happen.

use std::io;
use std::path::PathBuf;

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
