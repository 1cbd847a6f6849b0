//! Pools, their instances, and the state of each.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::Epoch;
use crate::ids::InstanceName;
use crate::routes::PoolName;
use crate::weight::Weight;

/// By which code path a pool's requests are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The next healthy instance; nothing else.
    RoundRobin,
    /// The home of the client's affinity key, by rendezvous hashing.
    Sticky,
}

impl Strategy {
    /// Both strategies.
    pub const ALL: [Self; 2] = [Self::Sticky, Self::RoundRobin];

    /// The name as it stands in the configuration, in logs and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Sticky => "sticky",
        }
    }
}

/// The text names no strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the strategies are 'sticky' and 'round_robin'")]
pub struct UnknownStrategy;

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text).ok_or(UnknownStrategy)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the gateway thinks of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// It has not told its name yet, so it is no member and gets no request.
    Pending,
    /// Its health checks pass.
    Healthy,
    /// It is being drained: it keeps the keys that it has, and gets no new ones.
    Draining,
    /// Its drain is over. It is no member, its keys have other homes, and it stays listed until it serves as usual again or is
    /// removed.
    Drained,
    /// Its health checks fail. It stays a member, so that its keys come back with it.
    Unhealthy,
    /// It failed requests in a row and is left out for a while. It stays a member, so that its keys come back with it.
    Ejected,
    /// Another member tells the same name, so this one is refused.
    DuplicateName,
    /// What listens there is no instance for this pool: of another service, protocol or deployment, or none at all. It gets
    /// no request. A member of before stays one, so that its keys come back with it.
    WrongInstance,
}

impl InstanceState {
    /// The state as it stands in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::DuplicateName => "duplicate_name",
            Self::WrongInstance => "wrong_instance",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `GET /control/v1/pools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pools {
    /// Both pools.
    pub pools: Vec<Pool>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Which one.
    pub name: PoolName,
    /// By which code path its requests are routed now.
    pub strategy: Strategy,
    /// Fingerprint of the membership.
    pub epoch: Epoch,
    /// Ordered by name; those without one come last.
    pub instances: Vec<Instance>,
    /// How its instances are discovered, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
}

/// How the addresses behind a pool's DNS name are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discovery {
    /// The name and the port.
    pub name: String,
    /// How many addresses the last good answer had.
    pub addresses: usize,
    /// Seconds since that answer; absent when there was none since the gateway's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_s_ago: Option<u64>,
    /// Why the last look-up failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One instance of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// The name it told; `null` until it did.
    pub name: Option<InstanceName>,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What the gateway thinks of it.
    pub state: InstanceState,
    /// The version of its service; absent until it has named one, and for versions older than the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Requests sent to it and not yet answered, streams not counted.
    pub in_flight: u64,
    /// Streams of it that clients listen to.
    pub streams: u64,
    /// Requests sent to it since it became a member at this address.
    pub requests: u64,
    /// Connections to it that failed since then.
    pub connect_failures: u64,
    /// Live sessions as it reported them last, for a stateful instance.
    pub live_sessions: Option<u64>,
    /// Share of all keys whose home it is, in per cent, measured over a fixed sample.
    pub key_share_percent: f64,
    /// How many shares it gets.
    #[serde(default)]
    pub weight: Weight,
    /// How much of that it gets of what is new, in per cent, while it starts slowly; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_percent: Option<u8>,
    /// Seconds that it stays ejected at least; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_for_s: Option<u64>,
    /// How its drain goes; absent when it is not drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Why it is ejected, or why its last health check failed; absent when neither is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The drain of an instance. The instance reports what is left there: requests in flight, streams and live sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// Seconds until its keys move away at the latest; 0 when they have.
    pub seconds_left: u64,
    /// Whether the instance announces it, so that every gateway knows. If not, this gateway alone drains it; it tries
    /// again at each health check.
    pub announced: bool,
    /// Whether no other instance serves, so that this one serves on past its deadline.
    pub serves_as_the_last: bool,
    /// What an operator should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
