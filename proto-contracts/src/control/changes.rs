//! Changes that operators make, and their responses.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::order::MissedGateway;
use super::pools::{Instance, Strategy};
use crate::weight::Weight;

/// What a reload of the configuration changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Identifies the configuration.
    pub fingerprint: String,
    /// Changed settings that take effect only with a restart or an upgrade.
    pub needs_restart: Vec<String>,
}

/// Response to `POST /control/v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadDone {
    /// What changed at this gateway.
    #[serde(flatten)]
    pub reloaded: Reloaded,
    /// The other gateways of the deployment that were missed.
    #[serde(default)]
    pub missed: Vec<MissedGateway>,
}

/// `POST /control/v1/pools/{pool}/instances/{name}/drain`, and what a gateway sends to the instance
/// at `/internal/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainInstance {
    /// How long its keys may stay, in seconds: 0 to 3,600. Default: 30, or the deadline of a drain
    /// in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    /// Drain it even if no other instance of its pool is available.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl DrainInstance {
    /// The longest deadline: an hour.
    pub const MAX_DEADLINE_S: u64 = 3_600;
    /// The default deadline, in seconds.
    pub const DEFAULT_DEADLINE_S: u64 = 30;
}

/// Query of `DELETE /control/v1/pools/{pool}/instances/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// Remove it even if no other instance of its pool is available.
    #[serde(default)]
    pub force: bool,
    /// It is a canary that is put back, and why. It is counted by
    /// `gateway_canaries_put_back_total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back: Option<PutBack>,
}

/// Why a canary was taken out of its pool again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PutBack {
    /// It failed more requests than the others: 5xx, timeouts, failed connections.
    Errors,
    /// It rejected more requests than the others: 4xx.
    Rejections,
    /// Its p99 was above the others'.
    Latency,
    /// It was ejected, or did not serve.
    Unhealthy,
    /// There was nothing to judge it by: too few requests, or the others failed as well.
    Undecided,
    /// Its watcher was interrupted.
    Interrupted,
    /// Its watcher did not renew its lease. Only gateways say this.
    LeaseEnded,
}

impl PutBack {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Errors,
        Self::Rejections,
        Self::Latency,
        Self::Unhealthy,
        Self::Undecided,
        Self::Interrupted,
        Self::LeaseEnded,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Rejections => "rejections",
            Self::Latency => "latency",
            Self::Unhealthy => "unhealthy",
            Self::Undecided => "undecided",
            Self::Interrupted => "interrupted",
            Self::LeaseEnded => "lease_ended",
        }
    }
}

/// How long a change by the control API lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// It was written to the state file before this response and survives restarts and upgrades.
    Saved,
    /// Until the next restart or upgrade: the gateway has no state file (`[server] state_file`), or
    /// the membership has a lease.
    UntilRestart,
}

impl Lasts {
    /// The value of `X-Change-Lasts`, for responses without a body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::UntilRestart => "until_restart",
        }
    }
}

/// Response to `PUT /control/v1/pools/{pool}/strategy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategySet {
    /// The new strategy.
    pub strategy: Strategy,
    /// How long the change lasts.
    pub lasts: Lasts,
    /// The other gateways of the deployment that were missed.
    #[serde(default)]
    pub missed: Vec<MissedGateway>,
}

/// Response to `POST /control/v1/pools/{pool}/instances`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceAdded {
    /// The instance after its first health check.
    #[serde(flatten)]
    pub instance: Instance,
    /// How long the change lasts.
    pub lasts: Lasts,
    /// The other gateways of the deployment that were missed.
    #[serde(default)]
    pub missed: Vec<MissedGateway>,
}

/// Response to a change of an instance's weight or drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceChanged {
    /// The instance from now on.
    #[serde(flatten)]
    pub instance: Instance,
    /// The other gateways of the deployment that were missed.
    #[serde(default)]
    pub missed: Vec<MissedGateway>,
}

/// Response to a removal that missed other gateways; else it has no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceRemoved {
    /// The other gateways of the deployment that were missed.
    pub missed: Vec<MissedGateway>,
}

/// `PUT /control/v1/pools/{pool}/strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStrategy {
    /// The new strategy.
    pub strategy: Strategy,
}

/// `POST /control/v1/pools/{pool}/instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddInstance {
    /// Its address. Its name comes from its health checks.
    #[serde(deserialize_with = "address")]
    pub addr: SocketAddr,
    /// Its weight: 1 to 256. Default: the weight that the instance announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// End its membership after so many seconds: 5 to 3,600. Repeated, the request renews that;
    /// repeated without a lease, it makes the membership last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
}

impl AddInstance {
    /// The shortest and the longest lease, in seconds.
    pub const LEASES_S: RangeInclusive<u64> = 5..=3_600;
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom("must be an IP address and a port, such as 127.0.0.1:8204")
    })
}

/// `PATCH /control/v1/pools/{pool}/instances/{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeInstance {
    /// The new weight: 1 to 256.
    pub weight: Weight,
}
