//! What every service binary needs, and nothing more.
//!
//! A service reads its configuration ([`config`]), starts its log ([`telemetry`]), and builds a [`server::Server`] from
//! its [`health`] probes and its routes ([`routes`]). Every request then passes the [`edge`], which names it, measures
//! it, logs it and turns each failure into a [`problem`].
//!
//! **Invariant:** nothing here knows what a service is for. No endpoint's name, no session, no product.

#![warn(missing_docs)]

pub mod body;
pub mod cli;
pub mod config;
pub mod connection;
pub mod edge;
pub mod entity_tags;
pub mod env;
pub mod health;
mod internal;
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
pub mod tokens;
