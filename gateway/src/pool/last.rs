//! Protects the last available instance of a pool.

use std::net::SocketAddr;

use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;

use crate::pool::host::{Host, label};

/// The instance is the last available one of its pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{act} {instance} would leave the {pool} pool without an available instance, and its requests \
     would fail with 503 no_instance_available ({others}). Add or undrain an instance first, or \
     use force"
)]
pub struct LastInstance {
    act: &'static str,
    instance: String,
    pool: PoolName,
    others: String,
}

impl LastInstance {
    /// Rejects an action on the last available instance.
    ///
    /// # Errors
    /// When the instance at this address is available and no other is.
    pub(super) fn check(
        hosts: &[Host],
        pool: PoolName,
        addr: SocketAddr,
        act: &'static str,
    ) -> Result<(), Self> {
        // A draining instance is no replacement for another one that is to be drained.
        let serves = |host: &Host| {
            host.state() == InstanceState::Healthy
                || act == "removing" && host.state() == InstanceState::Draining
        };
        let Some(target) = hosts.iter().find(|host| host.addr == addr) else { return Ok(()) };
        let others = || hosts.iter().filter(|host| host.addr != addr);
        if !matches!(target.state(), InstanceState::Healthy | InstanceState::Draining)
            || others().any(serves)
        {
            return Ok(());
        }
        let described: Vec<_> = others()
            .map(|host| format!("{} is {}", label(host.name(), host.addr), host.state()))
            .collect();
        let others = if described.is_empty() {
            "there is no other".to_owned()
        } else {
            described.join(", ")
        };
        let instance = label(target.name(), addr);
        Err(Self { act, instance, pool, others })
    }
}
