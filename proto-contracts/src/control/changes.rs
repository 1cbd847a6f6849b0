//! Changes that operators make, and their responses.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pools::{Instance, Strategy};
use crate::weight::Weight;

/// Answer of `POST /control/v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Tells configurations apart.
    pub fingerprint: String,
    /// Settings that differ from those in force and take effect with a restart or an upgrade alone.
    pub needs_restart: Vec<String>,
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
