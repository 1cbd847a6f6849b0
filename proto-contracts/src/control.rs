//! Bodies of the gateway's control API, under `/control/v1`.

mod events;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::{AffinityKey, Epoch};
use crate::ids::InstanceName;
use crate::routes::PoolName;
use crate::weight::Weight;

pub use events::{Event, EventTypes, EventsQuery, Routed};

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

/// Answer of `POST /control/v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Tells configurations apart.
    pub fingerprint: String,
    /// Settings that differ from those in force and take effect with a restart or an upgrade alone.
    pub needs_restart: Vec<String>,
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

/// `POST /control/v1/pools/{pool}/instances/{name}/drain`, and what a gateway sends to the instance at `/internal/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainInstance {
    /// How long its keys may stay, in seconds: 0 to 3,600. Without it 30, and a drain that has begun keeps its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    /// Drain it even when no other instance of its pool serves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl DrainInstance {
    /// An hour: who waits longer has forgotten it.
    pub const MAX_DEADLINE_S: u64 = 3_600;
    /// The deadline of a drain that names none, in seconds.
    pub const DEFAULT_DEADLINE_S: u64 = 30;
}

/// Query of `DELETE /control/v1/pools/{pool}/instances/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// Remove it even when no other instance of its pool serves.
    #[serde(default)]
    pub force: bool,
}

/// For how long a change over the control API lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// It was written to the state file before this response: it survives restarts and upgrades.
    Saved,
    /// Until the gateway restarts or is upgraded: it has no state file (`[server] state_file`).
    UntilRestart,
}

impl Lasts {
    /// As it stands in the header of a response without a body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::UntilRestart => "until_restart",
        }
    }
}

/// Response to `PUT /control/v1/pools/{pool}/strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategySet {
    /// The strategy from now on.
    pub strategy: Strategy,
    /// For how long it lasts.
    pub lasts: Lasts,
}

/// Response to `POST /control/v1/pools/{pool}/instances`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceAdded {
    /// The instance as its first check found it.
    #[serde(flatten)]
    pub instance: Instance,
    /// For how long it stays added.
    pub lasts: Lasts,
}

/// `PUT /control/v1/pools/{pool}/strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStrategy {
    /// The strategy from now on.
    pub strategy: Strategy,
}

/// `POST /control/v1/pools/{pool}/instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddInstance {
    /// Where it listens. Its name it tells itself.
    pub addr: SocketAddr,
    /// How many shares it gets: 1 to 256. Without it, those that the instance announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
}

/// `PATCH /control/v1/pools/{pool}/instances/{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeInstance {
    /// How many shares it gets from now on: 1 to 256.
    pub weight: Weight,
}

/// Query of `GET /control/v1/pools/{pool}/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Whose way to explain.
    pub key: AffinityKey,
    /// Suppose this member were gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<InstanceName>,
    /// Suppose this one had joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<InstanceName>,
    /// Suppose this member were drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<InstanceName>,
    /// Suppose this member had another weight: `stateful-2:3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<SupposedWeight>,
}

/// A member and a weight, as `stateful-2:3`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct SupposedWeight {
    /// Which member.
    pub name: InstanceName,
    /// Which weight.
    pub weight: Weight,
}

/// The text is no member and weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a member and its weight, 1 to 256, as in stateful-2:3")]
pub struct InvalidSupposedWeight;

impl FromStr for SupposedWeight {
    type Err = InvalidSupposedWeight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, weight) = text.split_once(':').ok_or(InvalidSupposedWeight)?;
        let name = name.parse().map_err(|_| InvalidSupposedWeight)?;
        Ok(Self { name, weight: weight.parse().map_err(|_| InvalidSupposedWeight)? })
    }
}

impl fmt::Display for SupposedWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.weight)
    }
}

impl Serialize for SupposedWeight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SupposedWeight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Answer of `explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Whose way is explained.
    pub key: AffinityKey,
    /// In which pool.
    pub pool: PoolName,
    /// The pool's strategy now. The ranking stands under either; round robin ignores it.
    pub strategy: Strategy,
    /// Under which membership.
    pub epoch: Epoch,
    /// Every member, the home first: also the order of failover.
    pub ranking: Vec<Ranked>,
    /// The instance that the sticky path would choose now; `null` when none can be used.
    pub choice: Option<InstanceName>,
    /// The choice and its reason, and why those ranked above it were passed over.
    pub reason: String,
    /// What the supposed change would move; absent when none was supposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// One place of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// From 1, the home.
    pub rank: usize,
    /// Which member.
    pub name: InstanceName,
    /// The rendezvous hash of key and name, as 16 hex digits. Where all weights are equal, the highest is the home.
    pub score: String,
    /// How many shares it gets.
    #[serde(default)]
    pub weight: Weight,
    /// Weight ÷ −ln(score ÷ 2⁶⁴), where weights differ: the highest is the home. Absent where they don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_score: Option<f64>,
    /// What the gateway thinks of it.
    pub state: InstanceState,
    /// Why the sticky path would pass it over now; absent when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
}

/// What a change of membership would move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Epoch that the changed membership would have.
    pub epoch: Epoch,
    /// The key's home under it.
    pub home: Option<InstanceName>,
    /// Whether this key would move.
    pub moves: bool,
    /// How many keys the estimate is taken over.
    pub sampled_keys: u32,
    /// How many of all keys would move, in per cent, measured over that sample.
    pub moved_percent: f64,
    /// From where to where they would, most first.
    pub flows: Vec<Flow>,
    /// Some of the keys that would move.
    pub examples: Vec<Move>,
    /// When they would move, and what happens until then.
    pub effect: String,
}

/// Keys that would move from one home to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Their home now; `null` when the pool has no member.
    pub from: Option<InstanceName>,
    /// Their home then; `null` when the pool would have no member.
    pub to: Option<InstanceName>,
    /// How many of all keys, in per cent.
    pub percent: f64,
}

/// One key that would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// Which key.
    pub key: AffinityKey,
    /// Its home now.
    pub from: Option<InstanceName>,
    /// Its home then.
    pub to: Option<InstanceName>,
}
