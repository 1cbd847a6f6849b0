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

mod error;
mod office;
mod successor;
mod wire;

pub use error::UpgradeError;
pub use successor::Predecessor;

pub(super) use office::{Assets, HandOver, Office, publish};
pub(super) use successor::listener;
