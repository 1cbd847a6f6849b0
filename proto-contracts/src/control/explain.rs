//! Explanation of routing decisions, and forecasts of membership changes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pools::{InstanceState, Strategy};
use crate::affinity::{AffinityKey, Epoch};
use crate::ids::InstanceName;
use crate::pool_name::PoolName;
use crate::weight::Weight;

/// Query of `GET /control/v1/pools/{pool}/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The key to explain.
    pub key: AffinityKey,
    /// Assume that this member were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<InstanceName>,
    /// Assume that an instance of this name were added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<InstanceName>,
    /// Assume that this member were drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<InstanceName>,
    /// Assume another weight for a member: `stateful-2:3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<AssumedWeight>,
}

/// A member and a weight, as `stateful-2:3`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct AssumedWeight {
    /// The member.
    pub name: InstanceName,
    /// Its assumed weight.
    pub weight: Weight,
}

/// The text is not `<member>:<weight>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a member and its weight, 1 to 256, as in stateful-2:3")]
pub struct InvalidAssumedWeight;

impl FromStr for AssumedWeight {
    type Err = InvalidAssumedWeight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, weight) = text.split_once(':').ok_or(InvalidAssumedWeight)?;
        let name = name.parse().map_err(|_| InvalidAssumedWeight)?;
        Ok(Self { name, weight: weight.parse().map_err(|_| InvalidAssumedWeight)? })
    }
}

impl fmt::Display for AssumedWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.weight)
    }
}

impl Serialize for AssumedWeight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssumedWeight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Response of `explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The key that is explained.
    pub key: AffinityKey,
    /// The pool.
    pub pool: PoolName,
    /// The pool's present strategy. Round robin ignores the ranking.
    pub strategy: Strategy,
    /// Fingerprint of the membership.
    pub epoch: Epoch,
    /// All members, the home first, in failover order.
    pub ranking: Vec<Ranked>,
    /// The instance that the sticky strategy would choose now; `null` when none is available.
    pub choice: Option<InstanceName>,
    /// The choice, its reason, and why higher-ranked members were skipped.
    pub reason: String,
    /// The effect of the assumed change; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// One member of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// The position; 1 is the home.
    pub rank: usize,
    /// The member.
    pub name: InstanceName,
    /// The rendezvous hash of key and name, as 16 hex digits. If all weights are equal, the highest
    /// is the home.
    pub score: String,
    /// Its weight.
    #[serde(default)]
    pub weight: Weight,
    /// Weight ÷ −ln(score ÷ 2⁶⁴); the highest is the home. Absent if all weights are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_score: Option<f64>,
    /// The gateway's view of it.
    pub state: InstanceState,
    /// Why the sticky strategy would skip it now; absent when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
}

/// The effect of a change of membership.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The epoch after the change.
    pub epoch: Epoch,
    /// The key's home after the change.
    pub home: Option<InstanceName>,
    /// Whether this key would move.
    pub moves: bool,
    /// Size of the sample of keys.
    pub sampled_keys: u32,
    /// Share of keys that would move, in percent of the sample.
    pub moved_percent: f64,
    /// The moves by old and new home, largest first.
    pub flows: Vec<Flow>,
    /// Some of the keys that would move.
    pub examples: Vec<Move>,
    /// When they would move, and what happens until then.
    pub effect: String,
}

/// Keys that would move from one home to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The old home; `null` when the pool has no member.
    pub from: Option<InstanceName>,
    /// The new home; `null` when the pool would have no member.
    pub to: Option<InstanceName>,
    /// Share of all keys, in percent.
    pub percent: f64,
}

/// One key that would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// The key.
    pub key: AffinityKey,
    /// The old home.
    pub from: Option<InstanceName>,
    /// The new home.
    pub to: Option<InstanceName>,
}
