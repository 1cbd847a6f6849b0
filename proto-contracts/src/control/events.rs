//! What `GET /control/v1/events` tells: one JSON object in each server-sent event, whose `event` field is its `type`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::affinity::Epoch;
use crate::control::{InstanceState, Strategy};
use crate::ids::InstanceName;
use crate::routes::PoolName;

/// One thing that happened in the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// An instance is in another state than before, or told another name.
    InstanceChanged {
        /// In which pool.
        pool: PoolName,
        /// Its name; `null` while it has told none.
        instance: Option<InstanceName>,
        /// Where it listens.
        addr: SocketAddr,
        /// What the gateway thinks of it now.
        state: InstanceState,
        /// Fingerprint of the membership now.
        epoch: Epoch,
        /// Why its last health check failed; absent when that passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An address was added to a pool, by the control API or by discovery.
    InstanceAdded {
        /// To which pool.
        pool: PoolName,
        /// Which address.
        addr: SocketAddr,
    },
    /// An instance was removed from a pool.
    InstanceRemoved {
        /// From which pool.
        pool: PoolName,
        /// Its name; `null` if it had told none.
        instance: Option<InstanceName>,
        /// Where it listens.
        addr: SocketAddr,
        /// Fingerprint of the membership now.
        epoch: Epoch,
    },
    /// A pool routes by another strategy.
    StrategyChanged {
        /// Which pool.
        pool: PoolName,
        /// The strategy from now on.
        strategy: Strategy,
    },
}

impl Event {
    /// The `event` field of the server-sent event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InstanceChanged { .. } => "instance_changed",
            Self::InstanceAdded { .. } => "instance_added",
            Self::InstanceRemoved { .. } => "instance_removed",
            Self::StrategyChanged { .. } => "strategy_changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_type() {
        let event = Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::Sticky };
        let json = serde_json::to_value(&event).expect("serializes");
        assert_eq!(json["type"], event.name());
        assert_eq!(json["strategy"], "sticky");
    }
}
