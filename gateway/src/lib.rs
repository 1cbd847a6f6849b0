//! Tandem's edge gateway on Pingora.
//!
//! [`connection`] reads requests, and [`proxy`] serves them: it asks [`routing`] where a request goes, which reads a
//! snapshot of a [`pool`]. [`resilience`] holds what protects all from a few. [`control`] is the control plane, on a
//! listener of its own, and [`ctl`] its client on the command line. [`server`] starts and stops both.
//!
//! **Invariant:** the data plane takes no lock and knows no service; all it shares with them is `proto_contracts`.

pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod ctl;
pub mod descriptors;
pub mod events;
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

/// What gateways are named by that have found their number by DNS.
pub const KIND: &str = "gateway";
