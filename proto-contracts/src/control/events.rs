//! What `GET /control/v1/events` tells: one JSON object in each server-sent event, whose `event` field is its `type`.

use std::borrow::Cow;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::changes::Reloaded;
use super::pools::{InstanceState, Pools, Strategy};
use crate::affinity::{AffinityKey, Epoch, Verdict};
use crate::error::ErrorCode;
use crate::ids::{InstanceName, RequestId};
use crate::routes::PoolName;

/// One thing that happened in the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The pools as they are: the first event of each stream.
    Pools(Pools),
    /// A request that is over: one of a sample, which `sample_weight` scales up again.
    Routed(Routed),
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
    /// An instance is being drained: told when it begins and at each health check until it is over.
    DrainProgressed {
        /// In which pool.
        pool: PoolName,
        /// Which instance.
        instance: InstanceName,
        /// `draining` or `drained`; `unhealthy` when it fails its checks meanwhile.
        state: InstanceState,
        /// Seconds until its keys move away at the latest.
        seconds_left: u64,
        /// Requests of this gateway in flight at it, streams not counted.
        in_flight: u64,
        /// Streams of it that clients of this gateway listen to.
        streams: u64,
        /// Live sessions by its last report.
        live_sessions: Option<u64>,
    },
    /// A pool routes by another strategy.
    StrategyChanged {
        /// Which pool.
        pool: PoolName,
        /// The strategy from now on.
        strategy: Strategy,
    },
    /// A pool answers too late for all that it is asked, and sheds what is beyond its limit; or that is over.
    OverloadChanged {
        /// Which pool.
        pool: PoolName,
        /// How many requests it may have in flight when this begins; `null` when it is over.
        limit: Option<u64>,
    },
    /// Clients have as many connections as they may, so that further ones are refused; or that is over.
    ConnectionsChanged {
        /// How many that is when it begins; `null` when it is over.
        limit: Option<u64>,
    },
    /// The DNS name of a pool cannot be looked up, so that the instances that are known are kept; or it can again.
    DiscoveryChanged {
        /// Which pool.
        pool: PoolName,
        /// Why; `null` when it can.
        error: Option<String>,
    },
    /// The configuration was read anew.
    ConfigReloaded(Reloaded),
    /// It was read anew and is wrong, so nothing has changed.
    ConfigRejected {
        /// What is wrong.
        detail: String,
    },
    /// The state file cannot be written, so changes that must last are refused; or it can again.
    StateFileChanged {
        /// Why; `null` when it can.
        error: Option<String>,
    },
    /// The listener was too slow, so events were passed over. What it knows of the pools may be out of date: it should come
    /// back, or ask for them.
    Missed {
        /// How many, those that its filter would have dropped among them.
        events: u64,
    },
    /// The gateway is stopping: readiness fails, requests in flight finish, and the stream ends with the last of them.
    GatewayStopping {},
}

/// One request of the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routed {
    /// Which pool it was for.
    pub pool: PoolName,
    /// Which instance served it, or was tried last; absent when it went to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// Why that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// By which code path it was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The client's affinity key, where the pool tracks keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AffinityKey>,
    /// Under which membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// A known method, or `_OTHER`.
    pub method: Cow<'static, str>,
    /// The template of its path, which holds no session id.
    pub route: Cow<'static, str>,
    /// What the client was answered; 499 when it had gone.
    pub status: u16,
    /// From the header read to the last byte written, in milliseconds.
    pub duration_ms: f64,
    /// The instances that it was sent to in vain, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<InstanceName>,
    /// With which code the gateway ended it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Finds it in the logs.
    pub request_id: RequestId,
    /// How many requests of the pool came to their end since the last one of the sample, this one included: the sum over a
    /// stream is the number of all requests.
    pub sample_weight: u64,
}

/// Query of `GET /control/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Which types to tell; all without it. `missed` and `gateway_stopping` are always told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<EventTypes>,
    /// The pool to tell of; both without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

impl EventsQuery {
    /// Whether it asks for events of this type.
    pub fn wants_type(&self, name: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.0.contains(&name))
    }

    /// Whether it asks for this event.
    pub fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Missed { .. } | Event::GatewayStopping {} => true,
            event => self.wants_type(event.name()) && (self.pool.is_none() || event.pool() == self.pool),
        }
    }
}

/// Names of event types, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct EventTypes(#[schemars(with = "String")] Vec<&'static str>);

impl Serialize for EventTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for EventTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let known = |name: &str| {
            Event::TYPES.iter().find(|known| **known == name).copied().ok_or_else(|| {
                serde::de::Error::custom(format!("'{name}' is no event; there are {}", Event::TYPES.join(", ")))
            })
        };
        text.split(',').map(|name| known(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl Event {
    /// The names of all types.
    pub const TYPES: &[&str] = &[
        "pools",
        "routed",
        "instance_changed",
        "instance_added",
        "instance_removed",
        "drain_progressed",
        "strategy_changed",
        "overload_changed",
        "connections_changed",
        "discovery_changed",
        "config_reloaded",
        "config_rejected",
        "state_file_changed",
        "missed",
        "gateway_stopping",
    ];

    /// The name of [`Event::Pools`].
    pub const POOLS: &str = "pools";

    /// The name of [`Event::Routed`].
    pub const ROUTED: &str = "routed";

    /// The `event` field of the server-sent event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pools(_) => Self::POOLS,
            Self::Routed(_) => Self::ROUTED,
            Self::InstanceChanged { .. } => "instance_changed",
            Self::InstanceAdded { .. } => "instance_added",
            Self::InstanceRemoved { .. } => "instance_removed",
            Self::DrainProgressed { .. } => "drain_progressed",
            Self::StrategyChanged { .. } => "strategy_changed",
            Self::OverloadChanged { .. } => "overload_changed",
            Self::ConnectionsChanged { .. } => "connections_changed",
            Self::DiscoveryChanged { .. } => "discovery_changed",
            Self::ConfigReloaded(_) => "config_reloaded",
            Self::ConfigRejected { .. } => "config_rejected",
            Self::StateFileChanged { .. } => "state_file_changed",
            Self::Missed { .. } => "missed",
            Self::GatewayStopping {} => "gateway_stopping",
        }
    }

    /// The pool that it is about, where it is about one.
    pub const fn pool(&self) -> Option<PoolName> {
        match self {
            Self::Routed(Routed { pool, .. })
            | Self::InstanceChanged { pool, .. }
            | Self::InstanceAdded { pool, .. }
            | Self::InstanceRemoved { pool, .. }
            | Self::DrainProgressed { pool, .. }
            | Self::StrategyChanged { pool, .. }
            | Self::OverloadChanged { pool, .. }
            | Self::DiscoveryChanged { pool, .. } => Some(*pool),
            Self::Pools(_)
            | Self::ConnectionsChanged { .. }
            | Self::ConfigReloaded(_)
            | Self::ConfigRejected { .. }
            | Self::StateFileChanged { .. }
            | Self::Missed { .. }
            | Self::GatewayStopping {} => None,
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

    #[test]
    fn a_listener_chooses_types_and_a_pool() {
        let query = |json: serde_json::Value| serde_json::from_value::<EventsQuery>(json);
        let switched = Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::Sticky };
        assert!(EventsQuery::default().wants(&switched));
        let both = query(serde_json::json!({"types": "routed, strategy_changed", "pool": "stateful"})).expect("reads");
        assert!(both.wants(&switched) && both.wants_type(Event::ROUTED));
        assert!(!query(serde_json::json!({"types": "routed"})).expect("reads").wants(&switched));
        assert!(!query(serde_json::json!({"pool": "stateless"})).expect("reads").wants(&switched));
        let other = query(serde_json::json!({"types": "routed", "pool": "stateless"})).expect("reads");
        assert!(other.wants(&Event::Missed { events: 1 }) && other.wants(&Event::GatewayStopping {}));
        for wrong in ["", "routed,", "Routed"] {
            let error = query(serde_json::json!({"types": wrong})).expect_err("refused").to_string();
            assert!(error.contains("strategy_changed"), "{error} names what there is");
        }
    }
}
