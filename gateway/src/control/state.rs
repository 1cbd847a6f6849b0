//! The state shared by handlers.

use std::sync::Arc;

use proto_contracts::{ErrorCode, PoolName};
use secrecy::SecretString;
use service_kit::problem::ApiError;
use tokio::sync::watch;

use crate::config::Room;
use crate::control::backend::Backend;
use crate::control::listeners::Listeners;
use crate::control::order::Changes;
use crate::control::peers::Peers;
use crate::control::rates::RateSubscribers;
use crate::events::Events;
use crate::health_check::Prober;
use crate::pool::{Pool, Pools};
use crate::reload::Reloader;

/// The state shared by handlers.
pub(super) struct State {
    pub(super) pools: Arc<Pools>,
    pub(super) prober: Prober,
    pub(super) events: Events,
    pub(super) reloader: Arc<Reloader>,
    /// Limits of event streams.
    pub(super) listeners: Listeners,
    /// The streams that want rates.
    pub(super) rates: RateSubscribers,
    /// The control token, for the reserved event streams.
    pub(super) token: Option<SecretString>,
    /// The room of a class, if one is open.
    pub(super) class: Option<Room>,
    /// The local stack's agent, if there is one.
    pub(super) agent: Option<Backend>,
    /// The traffic driver, if there is one.
    pub(super) driver: Option<Backend>,
    /// The order of changes.
    pub(super) changes: Changes,
    /// The deployment's other gateways.
    pub(super) peers: Peers,
    /// Set when the control plane stops, which ends event streams.
    pub(super) closing: watch::Receiver<bool>,
}

impl State {
    /// The traffic driver.
    ///
    /// # Errors
    /// `not_found` without one.
    pub(super) fn driver(&self) -> Result<&Backend, ApiError> {
        self.driver.as_ref().ok_or_else(|| {
            let detail = "This gateway has no traffic driver ([control] driver), so it starts no \
                          traffic and no lessons.";
            ApiError::new(ErrorCode::NotFound, detail)
        })
    }

    pub(super) fn pool(&self, name: &str) -> Result<&Arc<Pool>, ApiError> {
        let name: PoolName = name.parse().map_err(|error| {
            ApiError::new(ErrorCode::PoolNotFound, format!("There is no pool '{name}': {error}."))
        })?;
        Ok(self.pools.get(name))
    }
}
