//! The content of the state file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto_contracts::control::Strategy;
use proto_contracts::{InstanceName, PoolName, Weight};
use serde::{Deserialize, Serialize};

/// The states of all pools.
pub(super) type States = BTreeMap<PoolName, PoolState>;

/// The saved state of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolState {
    /// The strategy, if it differs from the configured one.
    pub strategy: Option<Strategy>,
    /// Addresses added by the control API.
    pub added: Vec<SocketAddr>,
    /// Configured or discovered addresses that were removed.
    pub removed: Vec<SocketAddr>,
    /// The last addresses from DNS, for a start while DNS is unavailable.
    pub discovered: Vec<SocketAddr>,
    /// Names by address.
    pub names: Vec<KnownName>,
    /// Operators' last drain decisions.
    pub drain_decisions: Vec<KnownDecision>,
    /// Weights of added addresses.
    pub weights: Vec<KnownWeight>,
    /// Operators' last weight decisions.
    pub weight_decisions: Vec<KnownWeightDecision>,
}

/// The weight of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWeight {
    /// The address.
    pub addr: SocketAddr,
    /// The weight.
    pub weight: Weight,
}

/// An operator's last decision about the weight of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWeightDecision {
    /// The instance.
    pub name: InstanceName,
    /// The weight.
    pub weight: Weight,
    /// Time of the decision, in milliseconds since 1970.
    pub decided_ms: u64,
}

/// An operator's last decision about draining an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDecision {
    /// The instance.
    pub name: InstanceName,
    /// Time of the decision, in milliseconds since 1970.
    pub decided_ms: u64,
    /// When its keys move, in milliseconds since 1970; absent: undrained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// The name of the instance at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownName {
    /// The address.
    pub addr: SocketAddr,
    /// Its name.
    pub name: InstanceName,
}
