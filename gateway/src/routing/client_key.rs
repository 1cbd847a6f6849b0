//! Inputs of routing from the request: its affinity key, and the instances it was tried at.

use std::sync::Arc;

use proto_contracts::AffinityKey;

use crate::pool::{Instance, Member};

/// The affinity key of a request, and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The key.
    pub key: AffinityKey,
    /// Its origin.
    pub origin: KeyOrigin,
}

/// The origin of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The client sent it.
    Client,
    /// Minted, because the client sent none.
    Minted,
    /// Minted, because the client sent a malformed one.
    Replaced,
}

/// The instances at which a request failed.
pub type Tried = Vec<Arc<Instance>>;

/// Whether the request failed at this member.
pub(super) fn is_tried(member: &Member, tried: &[Arc<Instance>]) -> bool {
    tried.iter().any(|instance| Arc::ptr_eq(instance, &member.instance))
}
