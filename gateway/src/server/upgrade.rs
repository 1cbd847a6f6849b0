//! Hot restart: a new process takes over without a rejected connection.
//!
//! The old process listens on a Unix socket (`[server] upgrade_sock`). The new one, started with
//! `--upgrade`, connects and receives the listening sockets. It loads the state, checks all
//! instances and sends `READY`; if it ends before that, nothing changes. The old process then
//! closes its control plane, stops writing state and sends `RELEASED`. From then on only the new
//! process accepts connections; the old one drains.
//!
//! Pingora's own upgrade stops the old process five seconds after it sent the sockets, even if the
//! new one fails. See `docs/adr` on upgrades.

mod error;
mod handover_server;
mod old_process;
mod wire;

pub use error::UpgradeError;
pub use old_process::OldProcess;

pub(super) use handover_server::{Assets, HandOver, HandoverServer, publish};
pub(super) use old_process::listener;
