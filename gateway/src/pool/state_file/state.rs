//! What the state file holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto_contracts::control::Strategy;
use proto_contracts::{InstanceName, PoolName, Weight};
use serde::{Deserialize, Serialize};

/// The states of all pools.
pub(super) type States = BTreeMap<PoolName, PoolState>;

/// What survives a restart, of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolState {
    /// The strategy, where it was switched to another than the configured one.
    pub strategy: Option<Strategy>,
    /// Addresses that are neither in the configuration nor discovered.
    pub added: Vec<SocketAddr>,
    /// Addresses of either that were removed.
    pub removed: Vec<SocketAddr>,
    /// What DNS named at last, so that a start while it does not answer finds everybody.
    pub discovered: Vec<SocketAddr>,
    /// Who was met where.
    pub names: Vec<KnownName>,
    /// What operators last decided about draining each instance.
    pub drain_decisions: Vec<KnownDecision>,
    /// Weights that were given when an address was added.
    pub weights: Vec<KnownWeight>,
    /// What operators last decided about the weight of each instance.
    pub weight_decisions: Vec<KnownWeightDecision>,
}

/// The weight of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWeight {
    /// The address.
    pub addr: SocketAddr,
    /// How many shares it gets.
    pub weight: Weight,
}

/// An operator's last decision about the weight of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWeightDecision {
    /// Which instance.
    pub name: InstanceName,
    /// How many shares it gets.
    pub weight: Weight,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: u64,
}

/// An operator's last decision about draining an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDecision {
    /// Which instance.
    pub name: InstanceName,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: u64,
    /// When its keys move away, in milliseconds since 1970; absent when it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// Who was met at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownName {
    /// The address.
    pub addr: SocketAddr,
    /// Who was met there.
    pub name: InstanceName,
}
