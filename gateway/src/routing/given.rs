//! What a request brings with it that decides where it goes: its key, and where it was sent before.

use std::sync::Arc;

use proto_contracts::AffinityKey;

use crate::pool::{Instance, Member};

/// The affinity key of a request, and how it came by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The key.
    pub key: AffinityKey,
    /// How the request came by it.
    pub origin: KeyOrigin,
}

/// How a request came by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The client sent it.
    Client,
    /// The client sent none, so it was minted.
    Minted,
    /// The client sent a malformed one, so it was minted.
    Replaced,
}

/// The instances that a request has been sent to in vain.
pub type Tried = Vec<Arc<Instance>>;

/// Whether the request was sent to this member in vain.
pub(super) fn is_tried(member: &Member, tried: &[Arc<Instance>]) -> bool {
    tried.iter().any(|instance| Arc::ptr_eq(instance, &member.instance))
}
