//! The weights of a pool's instances.
//!
//! Precedence: an operator's decision by name, then the configuration or the request that added the
//! address, then the instance's own announcement (`INSTANCE_WEIGHT`). As for drains, the instance
//! announces a decision and the latest wins, so that all gateways agree on homes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto_contracts::{InstanceName, Weight, WeightDecision};

use crate::pool::state_file::KnownWeightDecision;

/// The known weights.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// From the configuration.
    pub(super) configured: BTreeMap<SocketAddr, Weight>,
    /// From requests that added an address.
    pub(super) added: BTreeMap<SocketAddr, Weight>,
    /// From operators' decisions.
    pub(super) decided: BTreeMap<InstanceName, WeightDecision>,
}

/// A weight that the instance does not announce yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWeight {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The decision.
    pub decision: WeightDecision,
}

impl From<KnownWeightDecision> for (InstanceName, WeightDecision) {
    fn from(known: KnownWeightDecision) -> Self {
        let KnownWeightDecision { name, weight, decided_ms } = known;
        (name, WeightDecision { weight, decided_ms })
    }
}
