//! Tandem's edge gateway on Pingora.
//!
//! [`connection`] reads requests, [`decision`] decides about them and [`proxy`] forwards them.
//! [`routing`] chooses the instance from a snapshot of the [`pool`]. [`health_check`] keeps the
//! pools up to date, and [`resilience`] has limits and outlier detection. [`control`] is the
//! control plane on a listener of its own, and [`ctl`] its command-line client. [`server`] starts
//! and stops everything.
//!
//! **Invariants:** the data plane takes no lock and depends on no service's crate. Modules import
//! only from layers below their own (`docs/ARCHITECTURE.md`).

pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod ctl;
pub mod decision;
pub mod descriptors;
pub mod events;
pub mod exchange;
pub mod figures;
pub mod health_check;
pub mod http_strict;
pub mod pool;
pub mod proxy;
pub mod reload;
pub mod rendezvous;
pub mod request;
pub mod resilience;
pub mod routing;
pub mod server;
pub mod telemetry;

pub use config::Config;
pub use server::{Gateway, Start, build};

/// The prefix of a gateway's name when its number comes from DNS.
pub const KIND: &str = "gateway";
