//! How the membership follows what DNS names.

use std::net::SocketAddr;
use std::time::Instant;

use crate::pool::discovered::{Found, Occasion};
use crate::pool::registry::Registry;
use crate::pool::slot::Slot;

impl Registry {
    /// Takes the addresses that a look-up found. Nothing happens when the pool is not discovered any more.
    pub(in crate::pool) fn take_found(
        &mut self,
        mut found: Vec<SocketAddr>,
        occasion: Occasion,
        now: Instant,
    ) -> Found {
        let Some(discovered) = &mut self.discovered else { return Found::default() };
        found.sort_unstable();
        found.dedup();
        let before = std::mem::replace(&mut discovered.addrs, found.clone());
        discovered.found_at = Some(now);
        let turned = discovered.error.take().is_some();
        let mut added = Vec::new();
        for addr in found {
            match self.slot(addr) {
                Some(slot) => slot.absent = false,
                // An operator removed it, and DNS goes on naming it.
                None if before.contains(&addr) => {}
                None => {
                    let newcomer = if occasion == Occasion::Start { Slot::new(addr) } else { Slot::newcomer(addr) };
                    self.slots_mut().push(newcomer);
                    added.push(addr);
                }
            }
        }
        let given: Vec<_> = self.given().collect();
        for addr in before.into_iter().filter(|addr| !given.contains(addr)) {
            if let Some(slot) = self.slot(addr) {
                slot.absent = true;
            }
        }
        Found { added, forgotten: self.forget_absent(), turned }
    }

    /// Takes that a look-up failed: what was found before stays. Tells whether the one before it did not fail.
    pub(in crate::pool) fn take_no_answer(&mut self, error: String) -> bool {
        self.discovered.as_mut().is_some_and(|discovered| discovered.error.replace(error).is_none())
    }

    /// Forgets those that DNS names no more and whose checks fail.
    pub(in crate::pool) fn forget_absent(&mut self) -> Vec<Slot> {
        self.slots_mut().extract_if(.., |slot| slot.absent && !slot.health.is_up()).collect()
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

    fn config(name: Option<&str>) -> config::Pool {
        config::Pool {
            strategy: Strategy::Sticky,
            instances: vec![addr(1)],
            discover: name.map(|name| name.parse().expect("a name")),
            weights: std::collections::BTreeMap::new(),
            slow_start: std::time::Duration::ZERO,
            load_bound: None,
            protocol: config::Protocol::Http1,
        }
    }

    fn thresholds() -> Thresholds {
        Thresholds { fails: 2, passes: 2 }
    }

    fn registry(state: PoolState) -> Registry {
        Registry::new(&config(Some("stateful-svc:8201")), thresholds(), state)
    }

    fn find(registry: &mut Registry, hosts: &[u8]) -> Found {
        registry.take_found(hosts.iter().map(|&host| addr(host)).collect(), Occasion::Later, Instant::now())
    }

    /// Passes until it is a member.
    fn join(registry: &mut Registry, host: u8, name: &str) {
        for _ in 0..2 {
            let report = Report::of(name);
            registry.record_probe(POOL, addr(host), Ok(report));
        }
    }

    fn fail(registry: &mut Registry, host: u8) -> Vec<Slot> {
        registry.record_probe(POOL, addr(host), Err(ProbeError::TimedOut));
        registry.forget_absent()
    }

    fn hosts(registry: &Registry) -> Vec<u8> {
        let mut hosts: Vec<_> = registry
            .slots()
            .iter()
            .map(|slot| match slot.addr() {
                SocketAddr::V4(addr) => addr.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            })
            .collect();
        hosts.sort_unstable();
        hosts
    }

    #[test]
    fn an_address_that_is_found_serves_nothing_before_its_checks_have_passed() {
        let mut registry = registry(PoolState::default());
        assert_eq!(find(&mut registry, &[3, 2, 3]).added, [addr(2), addr(3)]);
        assert!(registry.slots().iter().all(|slot| slot.state() == InstanceState::Pending));
        join(&mut registry, 2, "stateful-2");
        assert_eq!(registry.names().len(), 1);
        assert!(find(&mut registry, &[2, 3]).added.is_empty(), "known already");
    }

    #[test]
    fn one_that_is_named_no_more_stays_while_its_checks_pass_and_is_forgotten_then() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2, 3]);
        join(&mut registry, 2, "stateful-2");
        let forgotten = find(&mut registry, &[3]).forgotten;
        assert!(forgotten.is_empty(), "it still answers");
        assert_eq!(registry.names().len(), 1);
        assert!(fail(&mut registry, 2).is_empty(), "once is no proof");
        assert_eq!(fail(&mut registry, 2).len(), 1);
        assert_eq!(hosts(&registry), [1, 3]);
        // One that was never well goes at once, and the configured one never.
        assert_eq!(find(&mut registry, &[4]).forgotten.len(), 1);
        assert_eq!(hosts(&registry), [1, 4]);
    }

    #[test]
    fn one_that_is_named_again_is_as_before() {
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
        let holder = registry.slots().iter().find(|slot| slot.name().is_some()).map(Slot::addr);
        assert_eq!(holder, Some(addr(5)));
        fail(&mut registry, 2);
        assert_eq!(hosts(&registry), [1, 5]);
    }

    #[test]
    fn what_an_operator_removed_stays_out_while_it_is_named() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2, 3]);
        registry.remove(POOL, &addr(2).to_string(), true).expect("it is there");
        find(&mut registry, &[2, 3]);
        assert_eq!(hosts(&registry), [1, 3]);
        let state = registry.state();
        assert_eq!((state.removed, state.added), (vec![addr(2)], vec![]));
        find(&mut registry, &[3]);
        find(&mut registry, &[2, 3]);
        assert_eq!(hosts(&registry), [1, 2, 3], "it was gone and came anew");
    }

    #[test]
    fn a_failing_resolver_changes_nothing_and_is_told_once() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        assert!(registry.take_no_answer("SERVFAIL".to_owned()));
        assert!(!registry.take_no_answer("SERVFAIL".to_owned()));
        assert_eq!(hosts(&registry), [1, 2]);
        let view = registry.discovered.as_ref().map(|discovered| discovered.view(Instant::now())).expect("a view");
        assert_eq!((view.addresses, view.error.as_deref()), (1, Some("SERVFAIL")));
        assert!(find(&mut registry, &[2]).turned);
        assert!(!find(&mut registry, &[2]).turned);
    }

    #[test]
    fn the_last_good_answer_survives_a_restart() {
        let mut before = registry(PoolState::default());
        find(&mut before, &[2, 3]);
        join(&mut before, 2, "stateful-2");
        let state = before.state();
        assert_eq!((&state.added, &state.discovered), (&vec![], &vec![addr(2), addr(3)]));
        let mut after = registry(state);
        assert_eq!(hosts(&after), [1, 2, 3]);
        assert_eq!(after.names().len(), 1, "with the names that were told");
        assert_eq!(find(&mut after, &[3]).forgotten.len(), 1, "nobody has found it well since, so the answer decides");
    }

    #[test]
    fn a_reload_may_end_discovery_or_begin_another() {
        let mut registry = registry(PoolState::default());
        find(&mut registry, &[2]);
        registry.reconfigure(&config(Some("another:8201")), thresholds());
        assert_eq!(hosts(&registry), [1, 2], "what is known serves until the other name is looked up");
        find(&mut registry, &[3]);
        assert_eq!(hosts(&registry), [1, 3]);
        registry.reconfigure(&config(None), thresholds());
        assert_eq!(hosts(&registry), [1]);
        assert!(find(&mut registry, &[4]).added.is_empty(), "an answer that comes late is for nobody");
    }
}
