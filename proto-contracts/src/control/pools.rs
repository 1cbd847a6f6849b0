//! Pools, their instances, and the state of each.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::Epoch;
use crate::ids::InstanceName;
use crate::pool_name::PoolName;
use crate::weight::Weight;

/// How a pool routes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// To the next healthy instance.
    RoundRobin,
    /// To the home of the client's affinity key, by rendezvous hashing.
    Sticky,
    /// By the client's address, as Nginx's `ip_hash`. Only with the lab enabled, for teaching.
    IpHash,
    /// To the instance with the fewest requests in flight. Only with the lab enabled, for teaching.
    LeastConn,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 4] = [Self::Sticky, Self::RoundRobin, Self::IpHash, Self::LeastConn];

    /// The name in the configuration, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Sticky => "sticky",
            Self::IpHash => "ip_hash",
            Self::LeastConn => "least_conn",
        }
    }

    /// Whether only a gateway with `[lab]` enabled accepts it.
    pub const fn is_of_the_lab(self) -> bool {
        match self {
            Self::RoundRobin | Self::Sticky => false,
            Self::IpHash | Self::LeastConn => true,
        }
    }
}

/// The text names no strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the strategies are 'sticky' and 'round_robin', and in the lab 'ip_hash' and 'least_conn'")]
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

/// The gateway's view of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Its name is unknown, since no health check has passed yet. No member; it gets no requests.
    Pending,
    /// Its health checks pass.
    Healthy,
    /// It keeps its keys and gets no new ones.
    Draining,
    /// Its drain is over. No member: its keys have other homes. It stays listed until the drain is
    /// ended or it is removed.
    Drained,
    /// Its health checks fail. It stays a member, so its keys return when it recovers.
    Unhealthy,
    /// Ejected for a while after consecutive failed requests. It stays a member, so its keys return
    /// when it recovers.
    Ejected,
    /// Another member has the same name, so this one is rejected.
    DuplicateName,
    /// The process there is not an instance for this pool: its service, protocol or deployment
    /// differs, or is unknown. It gets no requests. An earlier member stays one, so its keys return
    /// when it recovers.
    WrongInstance,
}

impl InstanceState {
    /// The name in logs and metric labels.
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
    /// All pools.
    pub pools: Vec<Pool>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// The pool's name.
    pub name: PoolName,
    /// The present strategy.
    pub strategy: Strategy,
    /// Fingerprint of the membership.
    pub epoch: Epoch,
    /// Sorted by name; instances without a name come last.
    pub instances: Vec<Instance>,
    /// Absent when the pool's instances are not discovered by DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
}

/// State of DNS discovery for a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discovery {
    /// DNS name and port.
    pub name: String,
    /// Addresses in the last successful lookup.
    pub addresses: usize,
    /// Seconds since the last successful lookup; absent when there was none since the gateway's
    /// start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_s_ago: Option<u64>,
    /// Why the last lookup failed; absent when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One instance of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its name; `null` until a health check has passed.
    pub name: Option<InstanceName>,
    /// Its address.
    pub addr: SocketAddr,
    /// The gateway's view of it.
    pub state: InstanceState,
    /// The version of its service; absent until a health check has passed, and for versions older
    /// than the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// This gateway's requests in flight at it, without streams.
    pub in_flight: u64,
    /// This gateway's open streams at it.
    pub streams: u64,
    /// Requests sent to it since it became a member at this address.
    pub requests: u64,
    /// Failed connection attempts since then.
    pub connect_failures: u64,
    /// Live sessions by its last health check, for a stateful instance.
    pub live_sessions: Option<u64>,
    /// Sessions with a copy in its memory, by the same check; absent when it reports none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_sessions: Option<u64>,
    /// Share of all keys whose home it is, in percent, measured over a fixed sample.
    pub key_share_percent: f64,
    /// Its weight.
    #[serde(default)]
    pub weight: Weight,
    /// Seconds until its membership ends, unless its lease is renewed; absent when it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
    /// Its place in the ranking; absent while it is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    /// Percent of its weight that applies to new work during slow start; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_percent: Option<u8>,
    /// Minimum seconds until its ejection ends; absent when it is not ejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_for_s: Option<u64>,
    /// Its drain; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Why it is ejected, or why its last health check failed; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What ranks a member for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The hash of its name, as 16 hex digits. A key's score is SplitMix64's finalizer of this
    /// hash XOR (key × 0x9e3779b97f4a7c15); the highest score is the key's home.
    #[schemars(extend("pattern" = "^[0-9a-f]{16}$"))]
    pub hash: String,
    /// Whether it may get requests now.
    pub usable: bool,
}

/// The drain of an instance. Its remaining work is in the instance's requests in flight, streams
/// and live sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// Maximum seconds until its keys move away; 0 when they have.
    pub seconds_left: u64,
    /// Whether the instance announces the drain to all gateways. If not, only this gateway drains
    /// it, and retries at each health check.
    pub announced: bool,
    /// Whether it still serves past its deadline, because no other instance does.
    pub serves_as_the_last: bool,
    /// A note to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
