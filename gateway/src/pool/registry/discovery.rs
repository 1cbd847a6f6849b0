//! Applies DNS lookups to the membership.

use std::net::SocketAddr;
use std::time::Instant;

use crate::pool::discovered::{LookupChange, LookupPhase};
use crate::pool::host::Host;
use crate::pool::registry::Registry;

impl Registry {
    /// Applies the addresses of a lookup, unless the pool has no discovery any more.
    pub(in crate::pool) fn apply_lookup(
        &mut self,
        mut found: Vec<SocketAddr>,
        phase: LookupPhase,
        now: Instant,
    ) -> LookupChange {
        let Some(discovered) = &mut self.discovered else { return LookupChange::default() };
        found.sort_unstable();
        found.dedup();
        let before = std::mem::replace(&mut discovered.addrs, found.clone());
        discovered.found_at = Some(now);
        let recovered = discovered.error.take().is_some();
        let mut added = Vec::new();
        for addr in found {
            match self.host(addr) {
                Some(host) => host.absent = false,
                // An operator removed it, and it is still in the records.
                None if before.contains(&addr) => {}
                None => {
                    let newcomer = if phase == LookupPhase::Start {
                        Host::new(addr)
                    } else {
                        Host::newcomer(addr)
                    };
                    self.hosts_mut().push(newcomer);
                    added.push(addr);
                }
            }
        }
        let given: Vec<_> = self.given().collect();
        for addr in before.into_iter().filter(|addr| !given.contains(addr)) {
            if let Some(host) = self.host(addr) {
                host.absent = true;
            }
        }
        LookupChange { added, forgotten: self.forget_absent(), recovered }
    }

    /// Records a failed lookup; known addresses stay. Returns whether the lookup before succeeded.
    pub(in crate::pool) fn record_lookup_failure(&mut self, error: String) -> bool {
        self.discovered.as_mut().is_some_and(|discovered| discovered.error.replace(error).is_none())
    }

    /// Removes those that are not in the records and fail their checks.
    pub(in crate::pool) fn forget_absent(&mut self) -> Vec<Host> {
        self.hosts_mut().extract_if(.., |host| host.absent && !host.health.is_up()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::PoolName;
    use proto_contracts::control::{InstanceState, Strategy};

    use super::*;
    use crate::config::{self, Thresholds};
    use crate::pool::report::{ProbeError, Report};
    use crate::pool::state_file::PoolState;

    const POOL: PoolName = PoolName::Stateful;

    fn addr(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 8201).into()
    }

    fn config(name: Option<&str>) -> config::PoolConfig {
        config::PoolConfig {
            strategy: Strategy::Sticky,
            lab: config::Lab::Closed,
            instances: vec![addr(1)],
            discover: name.map(|name| name.parse().expect("a name")),
            weights: std::collections::BTreeMap::new(),
            slow_start: std::time::Duration::ZERO,
            load_bound: None,
            protocol: config::Protocol::Http1,
            tls: None,
        }
    }

    fn thresholds() -> Thresholds {
        Thresholds { fails: 2, passes: 2 }
    }

    fn registry(state: PoolState) -> Registry {
        Registry::new(&config(Some("stateful-svc:8201")), thresholds(), state)
    }

    fn find(registry: &mut Registry, hosts: &[u8]) -> LookupChange {
        registry.apply_lookup(
            hosts.iter().map(|&host| addr(host)).collect(),
            LookupPhase::Later,
            Instant::now(),
        )
    }

    /// Passes until it is a member.
    fn join(registry: &mut Registry, host: u8, name: &str) {
        for _ in 0..2 {
            let report = Report::of(name);
            registry.record_probe(POOL, addr(host), Ok(report));
        }
    }

    fn fail(registry: &mut Registry, host: u8) -> Vec<Host> {
        registry.record_probe(POOL, addr(host), Err(ProbeError::TimedOut));
        registry.forget_absent()
    }

    fn hosts(registry: &Registry) -> Vec<u8> {
        let mut hosts: Vec<_> = registry
            .hosts()
            .iter()
            .map(|host| match host.addr() {
                SocketAddr::V4(addr) => addr.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            })
            .collect();
        hosts.sort_unstable();
        hosts
    }

    #[test]
    fn a_discovered_address_is_no_member_before_its_checks_pass() {
        let mut registry = registry(PoolState::default());
        assert_eq!(find(&mut registry, &[3, 2, 3]).added, [addr(2), addr(3)]);
        assert!(registry.hosts().iter().all(|host| host.state() == InstanceState::Pending));
        join(&mut registry, 2, "stateful-2");
        assert_eq!(registry.names().len(), 1);
        assert!(find(&mut registry, &[2, 3]).added.is_empty(), "known already");
    }

    #[test]
    fn an_address_that_leaves_dns_stays_while_its_checks_pass() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2, 3]);
        join(&mut registry, 2, "stateful-2");
        let forgotten = find(&mut registry, &[3]).forgotten;
        assert!(forgotten.is_empty(), "its checks pass");
        assert_eq!(registry.names().len(), 1);
        assert!(fail(&mut registry, 2).is_empty(), "one failure is not enough");
        assert_eq!(fail(&mut registry, 2).len(), 1);
        assert_eq!(hosts(&registry), [1, 3]);
        // One that was never healthy is removed at once, a configured one never.
        assert_eq!(find(&mut registry, &[4]).forgotten.len(), 1);
        assert_eq!(hosts(&registry), [1, 4]);
    }

    #[test]
    fn an_address_that_returns_to_dns_is_as_before() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        join(&mut registry, 2, "stateful-2");
        find(&mut registry, &[3]);
        find(&mut registry, &[2, 3]);
        assert!(fail(&mut registry, 2).is_empty() && fail(&mut registry, 2).is_empty());
        assert_eq!(hosts(&registry), [1, 2, 3], "unhealthy, and a member with its keys");
    }

    #[test]
    fn an_instance_at_another_address_keeps_its_name() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        join(&mut registry, 2, "stateful-2");
        find(&mut registry, &[5]);
        fail(&mut registry, 2);
        join(&mut registry, 5, "stateful-2");
        let holder = registry.hosts().iter().find(|host| host.name().is_some()).map(Host::addr);
        assert_eq!(holder, Some(addr(5)));
        fail(&mut registry, 2);
        assert_eq!(hosts(&registry), [1, 5]);
    }

    #[test]
    fn a_removed_instance_stays_removed_while_it_is_in_dns() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2, 3]);
        registry.remove(POOL, &addr(2).to_string(), true).expect("it is there");
        find(&mut registry, &[2, 3]);
        assert_eq!(hosts(&registry), [1, 3]);
        let state = registry.state();
        assert_eq!((state.removed, state.added), (vec![addr(2)], vec![]));
        find(&mut registry, &[3]);
        find(&mut registry, &[2, 3]);
        assert_eq!(hosts(&registry), [1, 2, 3], "it left DNS and returned");
    }

    #[test]
    fn a_failing_resolver_changes_nothing_and_is_reported_once() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        assert!(registry.record_lookup_failure("SERVFAIL".to_owned()));
        assert!(!registry.record_lookup_failure("SERVFAIL".to_owned()));
        assert_eq!(hosts(&registry), [1, 2]);
        let view = registry
            .discovered
            .as_ref()
            .map(|discovered| discovered.view(Instant::now()))
            .expect("a view");
        assert_eq!((view.addresses, view.error.as_deref()), (1, Some("SERVFAIL")));
        assert!(find(&mut registry, &[2]).recovered);
        assert!(!find(&mut registry, &[2]).recovered);
    }

    #[test]
    fn the_last_good_lookup_survives_a_restart() {
        let mut before = registry(PoolState::default());
        find(&mut before, &[2, 3]);
        join(&mut before, 2, "stateful-2");
        let state = before.state();
        assert_eq!((&state.added, &state.discovered), (&vec![], &vec![addr(2), addr(3)]));
        let mut after = registry(state);
        assert_eq!(hosts(&after), [1, 2, 3]);
        assert_eq!(after.names().len(), 1, "with the known names");
        assert_eq!(
            find(&mut after, &[3]).forgotten.len(),
            1,
            "it was not checked since, so DNS decides"
        );
    }

    #[test]
    fn a_reload_may_end_discovery_or_begin_another() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        registry.reconfigure(&config(Some("another:8201")), thresholds());
        assert_eq!(hosts(&registry), [1, 2], "known addresses stay until the new name is resolved");
        find(&mut registry, &[3]);
        assert_eq!(hosts(&registry), [1, 3]);
        registry.reconfigure(&config(None), thresholds());
        assert_eq!(hosts(&registry), [1]);
        assert!(find(&mut registry, &[4]).added.is_empty(), "a late response is ignored");
    }
}
