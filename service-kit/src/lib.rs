//! The parts that all binaries share: services and gateway.
//!
//! A service reads its configuration ([`config`]), starts its log ([`telemetry`]), and builds a
//! [`server::Server`] from its [`health`] probes and [`routes`]. Every request passes the [`edge`],
//! which assigns its id, measures and logs it, and turns a failure into a [`problem`].
//!
//! **Invariant:** no endpoint of a service, no session and no product appears here.

#![warn(missing_docs)]

pub mod body;
pub mod cli;
pub mod config;
pub mod connection;
pub mod edge;
pub mod entity_tags;
pub mod env;
mod error_pages;
pub mod health;
pub mod http_client;
pub mod idempotency;
pub mod internal;
pub mod members;
pub mod origin;
pub mod outage;
pub mod postgres;
pub mod problem;
pub mod redis;
pub mod response;
pub mod routes;
pub mod server;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod tokens;
