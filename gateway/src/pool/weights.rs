//! The weights of a pool's instances.
//!
//! What an operator last decided about an instance, by its name, holds over what the configuration or the request that added
//! it says of its address, and that over what the instance itself announces (`INSTANCE_WEIGHT`). A decision is announced by the
//! instance and kept by each gateway, and of two the later one holds, as for drains: gateways with other weights would send a
//! key to other homes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto_contracts::{InstanceName, Weight, WeightDecision};

use crate::pool::state_file::KnownWeightDecision;

/// Which weights are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// Of the configuration.
    pub(super) configured: BTreeMap<SocketAddr, Weight>,
    /// Of the requests that added an address.
    pub(super) added: BTreeMap<SocketAddr, Weight>,
    /// Of operators.
    pub(super) decided: BTreeMap<InstanceName, WeightDecision>,
}

/// A weight that an instance has to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UntoldWeight {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it is to announce.
    pub decision: WeightDecision,
}

impl From<KnownWeightDecision> for (InstanceName, WeightDecision) {
    fn from(known: KnownWeightDecision) -> Self {
        let KnownWeightDecision { name, weight, decided_ms } = known;
        (name, WeightDecision { weight, decided_ms })
    }
}
