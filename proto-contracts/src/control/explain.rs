//! Why a key goes where it goes, and what a change of membership would move.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pools::{InstanceState, Strategy};
use crate::affinity::{AffinityKey, Epoch};
use crate::ids::InstanceName;
use crate::routes::PoolName;
use crate::weight::Weight;

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
