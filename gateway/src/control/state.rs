//! What the handlers share.

use std::sync::Arc;

use proto_contracts::{ErrorCode, PoolName};
use secrecy::SecretString;
use service_kit::problem::ApiError;
use tokio::sync::watch;

use crate::control::listeners::Listeners;
use crate::events::Events;
use crate::health_check::Prober;
use crate::pool::{Pool, Pools};
use crate::reload::Reloader;

/// What the handlers share.
pub(super) struct State {
    pub(super) pools: Arc<Pools>,
    pub(super) prober: Prober,
    pub(super) events: Events,
    pub(super) reloader: Arc<Reloader>,
    /// A place for each who listens to events.
    pub(super) listeners: Listeners,
    /// What opens the places that are kept for its holders.
    pub(super) token: Option<SecretString>,
    /// Whether the control plane stops now, and all streams with it.
    pub(super) closing: watch::Receiver<bool>,
    pub(super) openapi: serde_json::Value,
}

impl State {
    pub(super) fn pool(&self, name: &str) -> Result<&Arc<Pool>, ApiError> {
        let name: PoolName = name
            .parse()
            .map_err(|error| ApiError::new(ErrorCode::PoolNotFound, format!("No pool is called '{name}': {error}.")))?;
        Ok(self.pools.get(name))
    }
}
