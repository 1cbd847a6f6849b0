//! Events of `GET /control/v1/events`: one JSON object per server-sent event, whose `event` field
//! is its `type`.

use std::borrow::Cow;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::changes::Reloaded;
use super::pools::{InstanceState, Pools, Strategy};
use super::rates::Rates;
use crate::affinity::{AffinityKey, Epoch, Verdict};
use crate::error::ErrorCode;
use crate::ids::{InstanceName, RequestId};
use crate::pool_name::PoolName;

/// An event in the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The present pools: the first event of each stream.
    Pools(Pools),
    /// A finished request from the sample; `sample_weight` scales it up to all requests.
    Routed(Routed),
    /// The totals of a pool in the last second. Sent only to streams that name this type.
    Rates(Rates),
    /// The state or name of an instance changed.
    InstanceChanged {
        /// The pool.
        pool: PoolName,
        /// Its name; `null` while it is unknown.
        instance: Option<InstanceName>,
        /// Its address.
        addr: SocketAddr,
        /// The new state.
        state: InstanceState,
        /// Fingerprint of the new membership.
        epoch: Epoch,
        /// Why its last health check failed; absent when it passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An address was added to a pool, by the control API or by discovery.
    InstanceAdded {
        /// The pool.
        pool: PoolName,
        /// Its address.
        addr: SocketAddr,
    },
    /// An instance was removed from a pool.
    InstanceRemoved {
        /// The pool.
        pool: PoolName,
        /// Its name; `null` if it was unknown.
        instance: Option<InstanceName>,
        /// Its address.
        addr: SocketAddr,
        /// Fingerprint of the new membership.
        epoch: Epoch,
    },
    /// Progress of a drain: sent when it begins, and at each health check until it is over.
    DrainProgressed {
        /// The pool.
        pool: PoolName,
        /// The instance.
        instance: InstanceName,
        /// `draining` or `drained`; `unhealthy` when it fails its checks meanwhile.
        state: InstanceState,
        /// Maximum seconds until its keys move away.
        seconds_left: u64,
        /// This gateway's requests in flight at it, without streams.
        in_flight: u64,
        /// This gateway's open streams at it.
        streams: u64,
        /// Live sessions by its last health check.
        live_sessions: Option<u64>,
    },
    /// The strategy of a pool changed.
    StrategyChanged {
        /// The pool.
        pool: PoolName,
        /// The new strategy.
        strategy: Strategy,
    },
    /// A pool began or ended load shedding: it responds too slowly and rejects requests beyond its
    /// limit.
    OverloadChanged {
        /// The pool.
        pool: PoolName,
        /// The limit of requests in flight at the beginning; `null` when shedding ended.
        limit: Option<u64>,
    },
    /// The connection limit was reached and further connections are rejected, or this has ended.
    ConnectionsChanged {
        /// The limit that was reached; `null` when connections are accepted again.
        limit: Option<u64>,
    },
    /// The DNS lookup of a pool failed and the known instances are kept, or it succeeded again.
    DiscoveryChanged {
        /// The pool.
        pool: PoolName,
        /// Why it failed; `null` when it succeeded.
        error: Option<String>,
    },
    /// The configuration was reloaded.
    ConfigReloaded(Reloaded),
    /// A reload failed: the configuration is invalid and nothing changed.
    ConfigRejected {
        /// What is wrong.
        detail: String,
    },
    /// The state file cannot be written and persistent changes are rejected, or it can be written
    /// again.
    StateFileChanged {
        /// Why it cannot be written; `null` when it can.
        error: Option<String>,
    },
    /// The client read too slowly, so events were dropped. Its view of the pools may be stale: it
    /// should reconnect, or request the pools.
    Missed {
        /// Number of dropped events, including those that the query would have excluded.
        events: u64,
    },
    /// The gateway is stopping: readiness fails, requests in flight finish, then the stream ends.
    GatewayStopping {},
}

/// One request of the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routed {
    /// The pool.
    pub pool: PoolName,
    /// The instance that served it or was tried last; absent if it was not forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// Why this instance was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The strategy that chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The client's affinity key, if the pool tracks keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AffinityKey>,
    /// Fingerprint of the membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// A known method, or `_OTHER`.
    pub method: Cow<'static, str>,
    /// The template of its path, without session ids.
    pub route: Cow<'static, str>,
    /// The status that the client got; 499 when it had disconnected.
    pub status: u16,
    /// From the request header read to the last response byte written, in milliseconds.
    pub duration_ms: f64,
    /// The instances that failed it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<InstanceName>,
    /// The error code, when the gateway sent a local reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Its id in the logs.
    pub request_id: RequestId,
    /// Requests of the pool that finished since the previous sampled one, including this one. The
    /// sum over a stream is the number of all requests.
    pub sample_weight: u64,
}

/// Query of `GET /control/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Event types to send; all but `rates` by default. `missed` and `gateway_stopping` are always sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<EventTypes>,
    /// Send only this pool's events; both by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

impl EventsQuery {
    /// Whether it selects events of this type.
    pub fn selects_type(&self, name: &str) -> bool {
        match &self.types {
            Some(types) => types.0.contains(&name),
            // A line each second would hide what people look for.
            None => name != Event::RATES,
        }
    }

    /// Whether it selects this event.
    pub fn selects(&self, event: &Event) -> bool {
        match event {
            Event::Missed { .. } | Event::GatewayStopping {} => true,
            event => {
                self.selects_type(event.name())
                    && (self.pool.is_none() || event.pool() == self.pool)
            }
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
                serde::de::Error::custom(format!(
                    "'{name}' is not an event type; the types are {}",
                    Event::TYPES.join(", ")
                ))
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
        "rates",
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

    /// The name of [`Event::Rates`].
    pub const RATES: &str = "rates";

    /// The `event` field of the server-sent event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pools(_) => Self::POOLS,
            Self::Routed(_) => Self::ROUTED,
            Self::Rates(_) => Self::RATES,
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

    /// The pool that it concerns, if any.
    pub const fn pool(&self) -> Option<PoolName> {
        match self {
            Self::Routed(Routed { pool, .. })
            | Self::Rates(Rates { pool, .. })
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
    fn a_query_selects_types_and_a_pool() {
        let query = |json: serde_json::Value| serde_json::from_value::<EventsQuery>(json);
        let switched =
            Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::Sticky };
        assert!(EventsQuery::default().selects(&switched));
        let both =
            query(serde_json::json!({"types": "routed, strategy_changed", "pool": "stateful"}))
                .expect("reads");
        assert!(both.selects(&switched) && both.selects_type(Event::ROUTED));
        assert!(!query(serde_json::json!({"types": "routed"})).expect("reads").selects(&switched));
        assert!(
            !query(serde_json::json!({"pool": "stateless"})).expect("reads").selects(&switched)
        );
        let other =
            query(serde_json::json!({"types": "routed", "pool": "stateless"})).expect("reads");
        assert!(
            other.selects(&Event::Missed { events: 1 })
                && other.selects(&Event::GatewayStopping {})
        );
        assert!(!EventsQuery::default().selects_type(Event::RATES), "by its name alone");
        let rates = query(serde_json::json!({"types": "rates,pools"})).expect("reads");
        assert!(rates.selects_type(Event::RATES) && !rates.selects_type(Event::ROUTED));
        for wrong in ["", "routed,", "Routed"] {
            let error =
                query(serde_json::json!({"types": wrong})).expect_err("rejected").to_string();
            assert!(error.contains("strategy_changed"), "{error} lists the types");
        }
    }
}
