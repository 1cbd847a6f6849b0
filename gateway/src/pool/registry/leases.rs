//! Memberships that end by themselves.

use std::net::SocketAddr;
use std::time::Instant;

use proto_contracts::PoolName;

use crate::pool::host::Host;
use crate::pool::registry::{AddError, Registry};

impl Registry {
    /// Sets the end of a lease; with `None` the membership lasts.
    ///
    /// # Errors
    /// When it is a member without a lease: a mistake must not end what was to last.
    pub(in crate::pool) fn renew(
        &mut self,
        addr: SocketAddr,
        lease: Option<Instant>,
    ) -> Result<(), AddError> {
        match self.host(addr) {
            Some(host) if host.lease.is_none() && lease.is_some() => Err(AddError::Lasting(addr)),
            Some(host) => {
                host.lease = lease;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Removes those whose leases have ended, except for the last available one.
    pub(in crate::pool) fn end_leases(&mut self, pool: PoolName, now: Instant) -> Vec<Host> {
        let ended = self.hosts().iter().filter(|host| host.lease_has_ended(now));
        let ended: Vec<_> = ended.map(|host| host.addr.to_string()).collect();
        ended.iter().filter_map(|addr| self.remove(pool, addr, false).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto_contracts::control::Strategy;

    use super::*;
    use crate::config::{self, Thresholds};
    use crate::pool::report::Report;
    use crate::pool::state_file::PoolState;

    const POOL: PoolName = PoolName::Stateful;

    fn addr(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 8201).into()
    }

    fn config() -> config::PoolConfig {
        config::PoolConfig {
            strategy: Strategy::Sticky,
            lab: config::Lab::Closed,
            instances: vec![addr(1), addr(2)],
            discover: None,
            weights: std::collections::BTreeMap::new(),
            slow_start: Duration::ZERO,
            load_bound: None,
            protocol: config::Protocol::Http1,
            tls: None,
        }
    }

    /// Two configured members, and a canary whose lease ends then.
    fn registry(until: Instant) -> Registry {
        let thresholds = Thresholds { fails: 2, passes: 1 };
        let mut registry = Registry::new(&config(), thresholds, PoolState::default());
        registry.add(addr(3), None, Some(until)).expect("a new address");
        for host in 1..=3 {
            registry.record_probe(POOL, addr(host), Ok(Report::of(&format!("s{host}"))));
        }
        assert_eq!(registry.names().len(), 3);
        registry
    }

    fn hosts(registry: &Registry) -> Vec<SocketAddr> {
        registry.hosts().iter().map(Host::addr).collect()
    }

    #[test]
    fn a_lease_ends_unless_it_is_renewed() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut registry = registry(now + second);
        assert!(registry.end_leases(POOL, now).is_empty());
        registry.renew(addr(3), Some(now + 3 * second)).expect("renewed");
        assert!(registry.end_leases(POOL, now + 2 * second).is_empty());
        let ended = registry.end_leases(POOL, now + 3 * second);
        assert_eq!(ended.iter().map(Host::addr).collect::<Vec<_>>(), [addr(3)]);
        assert_eq!(hosts(&registry), [addr(1), addr(2)]);
    }

    #[test]
    fn a_restart_and_no_reload_ends_a_lease_and_a_promoted_canary_stays() {
        let now = Instant::now();
        let mut registry = registry(now);
        let state = registry.state();
        assert_eq!((state.added, state.names.len()), (vec![], 2), "not what a restart reads");
        let thresholds = Thresholds { fails: 2, passes: 1 };
        registry.reconfigure(&config(), thresholds);
        assert_eq!(hosts(&registry).len(), 3);
        registry.renew(addr(3), None).expect("promoted");
        assert!(registry.end_leases(POOL, now + Duration::from_secs(3_600)).is_empty());
        assert_eq!(registry.state().added, [addr(3)]);
    }

    #[test]
    fn a_configured_address_as_a_canary_is_no_member_after_a_restart() {
        let mut registry = registry(Instant::now());
        registry.remove(POOL, "s2", false).expect("removed");
        registry.add(addr(2), None, Some(Instant::now())).expect("a canary");
        assert_eq!(registry.state().removed, [addr(2)]);
    }

    #[test]
    fn no_lease_ends_the_last_instance_nor_what_was_to_last() {
        let now = Instant::now();
        let mut registry = registry(now);
        assert_eq!(registry.renew(addr(1), Some(now)), Err(AddError::Lasting(addr(1))));
        for name in ["s1", "s2"] {
            registry.remove(POOL, name, false).expect("removed");
        }
        assert!(registry.end_leases(POOL, now).is_empty(), "its requests would fail");
        assert_eq!(hosts(&registry), [addr(3)]);
    }
}
