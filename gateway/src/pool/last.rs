//! The guard of the one instance that serves.

use std::net::SocketAddr;

use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;

use crate::pool::slot::{Slot, label};

/// No other instance of the pool serves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{act} {instance} would leave the {pool} pool without an instance that serves, and every request to it would fail \
     with 503 no_instance_available ({others}). Add an instance or undrain one first, or force it"
)]
pub struct LastInstance {
    act: &'static str,
    instance: String,
    pool: PoolName,
    others: String,
}

impl LastInstance {
    /// Refuses what would take away the one instance that serves.
    ///
    /// # Errors
    /// When the instance at this address serves and no other does.
    pub(super) fn refuse(slots: &[Slot], pool: PoolName, addr: SocketAddr, act: &'static str) -> Result<(), Self> {
        // A drain that goes on ends, so an instance in one is no replacement for another that is to be drained.
        let serves = |slot: &Slot| {
            slot.state() == InstanceState::Healthy || act == "removing" && slot.state() == InstanceState::Draining
        };
        let Some(target) = slots.iter().find(|slot| slot.addr == addr) else { return Ok(()) };
        let others = || slots.iter().filter(|slot| slot.addr != addr);
        if !matches!(target.state(), InstanceState::Healthy | InstanceState::Draining) || others().any(serves) {
            return Ok(());
        }
        let described: Vec<_> =
            others().map(|slot| format!("{} is {}", label(slot.name(), slot.addr), slot.state())).collect();
        let others = if described.is_empty() { "it has no other".to_owned() } else { described.join(", ") };
        let instance = label(target.name(), addr);
        Err(Self { act, instance, pool, others })
    }
}
