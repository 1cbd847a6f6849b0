//! Every address that a pool knows, and which of them are members under which name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{InstanceName, PoolName};

use crate::config;
use crate::pool::drain::Drain;
use crate::pool::ejection::Ejections;
use crate::pool::health::{Health, Thresholds};
use crate::pool::instance::Instance;
use crate::pool::prober::{ProbeError, Report};
use crate::pool::snapshot::Snapshot;
use crate::pool::state_file::{KnownName, PoolState};
use crate::resilience::outlier::{Policy, Reason};
use crate::routing::rendezvous::Seed;

/// One address that the pool knows.
#[derive(Debug)]
pub struct Slot {
    addr: SocketAddr,
    instance: Option<Arc<Instance>>,
    refused: Option<InstanceName>,
    health: Health,
    last_error: Option<String>,
    reports_sessions: bool,
    ejections: Ejections,
    pub(super) drain: Option<Drain>,
    /// Its drain is over, and it is no member.
    pub(super) drained: bool,
}

impl Slot {
    /// An address that the gateway starts with: the first result of its checks decides, so that a start is quick.
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            instance: None,
            refused: None,
            health: Health::Unknown,
            last_error: None,
            reports_sessions: false,
            ejections: Ejections::default(),
            drain: None,
            drained: false,
        }
    }

    /// An address that is added later: it serves nothing before enough of its checks have passed in a row.
    fn newcomer(addr: SocketAddr) -> Self {
        Self { health: Health::DOWN, ..Self::new(addr) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The instance, once it has told a name that no other has.
    pub fn instance(&self) -> Option<&Arc<Instance>> {
        self.instance.as_ref()
    }

    /// Its name, once it is a member.
    pub fn name(&self) -> Option<&InstanceName> {
        self.instance.as_deref().map(Instance::name)
    }

    /// Why it is ejected, or why its last health check failed.
    pub fn last_error(&self) -> Option<&str> {
        self.ejections.why().or(self.last_error.as_deref())
    }

    /// For how long it is ejected at least, while it is.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        self.ejections.left(now)
    }

    /// Its live sessions by its last report, when it reports any.
    pub fn live_sessions(&self) -> Option<u64> {
        self.instance.as_deref().filter(|_| self.reports_sessions).map(Instance::reported_sessions)
    }

    /// Whether it has told its name and its checks pass.
    pub fn is_up(&self) -> bool {
        self.instance.is_some() && self.health.is_up()
    }

    /// What the gateway thinks of it.
    pub fn state(&self) -> InstanceState {
        match (&self.instance, &self.refused) {
            (Some(_), _) if self.drained => InstanceState::Drained,
            (Some(_), _) if self.health.is_up() && self.ejections.why().is_some() => InstanceState::Ejected,
            (Some(_), _) if self.health.is_up() && self.drain.is_some() => InstanceState::Draining,
            (Some(_), _) if self.health.is_up() => InstanceState::Healthy,
            (Some(_), _) => InstanceState::Unhealthy,
            (None, Some(_)) => InstanceState::DuplicateName,
            (None, None) => InstanceState::Pending,
        }
    }
}

/// The address cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// It is there already.
    #[error("the pool has an instance at {0} already")]
    KnownAddress(SocketAddr),
}

/// The instance cannot be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none of that name or at that address.
    #[error("the pool has no instance of that name or at that address")]
    Unknown,
}

/// The membership of one pool, as it is changed.
#[derive(Debug)]
pub struct Registry {
    strategy: Strategy,
    thresholds: Thresholds,
    configured_strategy: Strategy,
    configured: Vec<SocketAddr>,
    slots: Vec<Slot>,
}

/// Whether an address is a member at the end of a check that it passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// Now, if no other has its name.
    Now,
    /// Not yet: more checks have to pass.
    Later,
}

impl Registry {
    /// The configured instances, changed as the control API had changed them.
    pub fn new(config: &config::Pool, thresholds: Thresholds, state: PoolState) -> Self {
        let kept = config.instances.iter().filter(|addr| !state.removed.contains(addr));
        let mut registry = Self {
            strategy: state.strategy.unwrap_or(config.strategy),
            thresholds,
            configured_strategy: config.strategy,
            configured: config.instances.clone(),
            slots: kept.map(|&addr| Slot::new(addr)).collect(),
        };
        for addr in state.added {
            if registry.slot(addr).is_none() {
                registry.slots.push(Slot::new(addr));
            }
        }
        // An instance that is down while the gateway starts keeps its keys: it stays a member by the name that is
        // known of it.
        for KnownName { addr, name } in state.names {
            if !registry.names().contains(&name)
                && let Some(slot) = registry.slot(addr)
            {
                slot.instance = Some(Arc::new(Instance::new(name, addr)));
            }
        }
        registry
    }

    /// Every address, in the order in which they came.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// The members' names, in the order of their addresses.
    pub fn names(&self) -> Vec<InstanceName> {
        self.slots.iter().filter_map(Slot::name).cloned().collect()
    }

    /// The members as the data path sees them.
    pub fn snapshot(&self, seed: Seed) -> Snapshot {
        let members = self.slots.iter().filter_map(|slot| Some((Arc::clone(slot.instance()?), slot.state())));
        Snapshot::new(self.strategy, seed, members)
    }

    /// What must survive a restart.
    pub fn state(&self) -> PoolState {
        let addrs: Vec<_> = self.slots.iter().map(Slot::addr).collect();
        // One that is drained is no member, so it must not be one after a restart; it tells its name, and its drain, itself.
        let known = |slot: &Slot| {
            let name = slot.name().filter(|_| !slot.drained)?;
            Some(KnownName { addr: slot.addr, name: name.clone() })
        };
        PoolState {
            strategy: (self.strategy != self.configured_strategy).then_some(self.strategy),
            added: addrs.iter().filter(|addr| !self.configured.contains(addr)).copied().collect(),
            removed: self.configured.iter().filter(|addr| !addrs.contains(addr)).copied().collect(),
            names: self.slots.iter().filter_map(known).collect(),
        }
    }

    /// Takes a configuration that was read anew, as a restart would: what the control API changed wins over it. Instances that
    /// stay keep their health and their names.
    pub fn reconfigure(&mut self, config: &config::Pool, thresholds: Thresholds) {
        let PoolState { strategy, added, removed, .. } = self.state();
        let kept = config.instances.iter().filter(|addr| !removed.contains(addr));
        let wanted: Vec<_> = kept.chain(&added).copied().collect();
        self.slots.retain(|slot| wanted.contains(&slot.addr));
        for addr in wanted {
            if self.slot(addr).is_none() {
                self.slots.push(Slot::new(addr));
            }
        }
        self.strategy = strategy.unwrap_or(config.strategy);
        self.configured_strategy = config.strategy;
        self.configured.clone_from(&config.instances);
        self.thresholds = thresholds;
    }

    /// Switches the strategy.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    /// Adds an address.
    ///
    /// # Errors
    /// When it is there already.
    pub fn add(&mut self, addr: SocketAddr) -> Result<(), AddError> {
        if self.slot(addr).is_some() {
            return Err(AddError::KnownAddress(addr));
        }
        self.slots.push(Slot::newcomer(addr));
        Ok(())
    }

    /// Removes the instance of that name or at that address, and tells its address.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&mut self, label: &str) -> Result<Slot, RemoveError> {
        let is_it = |slot: &Slot| slot.name().is_some_and(|name| name.as_str() == label);
        let by_name = self.slots.iter().position(is_it);
        let addr = label.parse::<SocketAddr>().ok();
        let place = by_name.or_else(|| self.slots.iter().position(|slot| Some(slot.addr) == addr));
        let removed = self.slots.remove(place.ok_or(RemoveError::Unknown)?);
        self.settle(Instant::now());
        Ok(removed)
    }

    /// Takes the result of a health check, and tells the addresses of those that are in another state than before or have
    /// another name: the one that was checked, and those for which it makes a difference.
    pub fn record_probe(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        result: Result<Report, ProbeError>,
    ) -> Vec<SocketAddr> {
        self.changed_by(pool, |registry| registry.take_probe(pool, addr, result))
    }

    /// Makes a change and tells the addresses of those that are in another state than before or have another name.
    pub(super) fn changed_by(&mut self, pool: PoolName, change: impl FnOnce(&mut Self)) -> Vec<SocketAddr> {
        let look = |slot: &Slot| (slot.addr, slot.state(), slot.name().cloned());
        let before: Vec<_> = self.slots.iter().map(look).collect();
        change(self);
        let changed = self.slots.iter().filter(|slot| !before.contains(&look(slot)));
        changed.map(|slot| (log_change(pool, slot), slot.addr).1).collect()
    }

    fn take_probe(&mut self, pool: PoolName, addr: SocketAddr, result: Result<Report, ProbeError>) {
        let (thresholds, now) = (self.thresholds, Instant::now());
        // It may have been removed while it was being checked.
        let Some(slot) = self.slot(addr) else { return };
        match result {
            Err(error) => {
                slot.health = slot.health.fail(thresholds);
                slot.last_error = Some(error.to_string());
            }
            Ok(report) => {
                slot.health = slot.health.pass(thresholds);
                slot.last_error = None;
                if slot.health.is_up()
                    && slot.ejections.end_if_over(now)
                    && let Some(instance) = &slot.instance
                {
                    instance.clear_failures();
                }
                slot.reports_sessions = report.live_sessions.is_some();
                let join = if slot.health.is_up() || slot.instance.is_some() { Join::Now } else { Join::Later };
                self.claim(pool, addr, report.name, join);
                if let (Some(sessions), Some(instance)) =
                    (report.live_sessions, self.slot(addr).and_then(|slot| slot.instance.as_ref()))
                {
                    instance.report_sessions(sessions);
                }
                if let Some(slot) = self.slot(addr) {
                    slot.take_announcement(report.seconds_left, now);
                }
            }
        }
        self.settle(now);
    }

    /// Leaves out an instance that failed requests, unless too few would be left, and tells at which address it is.
    ///
    /// What the health checks test as well, that it takes connections, they decide: it is unhealthy at once, and is back as
    /// soon as they pass. Of the rest they know nothing, so it is left out for a time.
    pub fn eject(
        &mut self,
        pool: PoolName,
        instance: &Arc<Instance>,
        reason: Reason,
        policy: Policy,
        now: Instant,
    ) -> Option<SocketAddr> {
        let members = self.slots.iter().filter(|slot| slot.instance.is_some());
        let out = members.clone().filter(|slot| slot.state() != InstanceState::Healthy).count() + 1;
        let members = members.count();
        // A `u32` of per cent times a count of instances is far from the end of a `usize`.
        let too_few_left = out >= members || out * 100 > policy.max_percent as usize * members;
        let is_it = |slot: &&mut Slot| slot.instance.as_ref().is_some_and(|known| Arc::ptr_eq(known, instance));
        let slot = self.slots.iter_mut().find(is_it)?;
        if slot.state() != InstanceState::Healthy {
            return None;
        }
        let why = reason.describe(policy.consecutive_failures);
        if too_few_left {
            tracing::warn!(%pool, instance = %instance.name(), why, "not ejected: too few instances would be left");
            return None;
        }
        match reason {
            Reason::Connections => {
                slot.health = Health::DOWN;
                slot.last_error = Some(why);
            }
            Reason::Errors | Reason::Timeouts => slot.ejections.begin(now, policy.base, policy.max, why),
        }
        log_change(pool, slot);
        Some(slot.addr)
    }

    /// Gives the slot the name that its instance told, unless another that is well has it.
    ///
    /// A holder whose last check failed loses the name: then the instance has come back at this address.
    fn claim(&mut self, pool: PoolName, addr: SocketAddr, name: InstanceName, join: Join) {
        if self.slot(addr).is_some_and(|slot| slot.name() == Some(&name)) {
            return;
        }
        let holder = self.slots.iter_mut().find(|slot| slot.addr != addr && slot.name() == Some(&name));
        let refused = match holder {
            Some(holder) if holder.health.is_up() && holder.last_error.is_none() => {
                let held_by = holder.addr;
                let news = self.slot(addr).is_some_and(|slot| slot.refused.as_ref() != Some(&name));
                if news {
                    tracing::error!(
                        %pool, instance = %name, %addr, %held_by,
                        "two instances tell the same name: the second is refused until the first is gone; give each its own INSTANCE_ID"
                    );
                }
                true
            }
            _ if join == Join::Later => false,
            Some(holder) => {
                tracing::info!(%pool, instance = %name, from = %holder.addr, to = %addr, "instance moved");
                holder.instance = None;
                false
            }
            None => false,
        };
        let Some(slot) = self.slot(addr) else { return };
        if refused {
            slot.instance = None;
            slot.refused = Some(name);
        } else {
            slot.refused = None;
            if join == Join::Now {
                slot.instance = Some(Arc::new(Instance::new(name, addr)));
            }
        }
    }

    pub(super) fn slot(&mut self, addr: SocketAddr) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.addr == addr)
    }
}

fn log_change(pool: PoolName, slot: &Slot) {
    let instance = crate::pool::label(slot.name(), slot.addr);
    let (addr, state) = (slot.addr, slot.state());
    match slot.last_error() {
        None => tracing::info!(%pool, instance, %addr, %state, "instance changed"),
        Some(error) => tracing::warn!(%pool, instance, %addr, %state, error, "instance changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { fails: 3, passes: 2 };

    fn addr(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn registry(ports: &[u16]) -> Registry {
        restarted(ports, PoolState::default())
    }

    fn restarted(ports: &[u16], state: PoolState) -> Registry {
        let instances = ports.iter().map(|&port| addr(port)).collect();
        Registry::new(
            &config::Pool {
                strategy: Strategy::Sticky,
                instances,
                load_bound: None,
                protocol: config::Protocol::Http1,
            },
            THRESHOLDS,
            state,
        )
    }

    fn pass(registry: &mut Registry, port: u16, name: &str) -> bool {
        tell(registry, port, name, None)
    }

    /// A good answer, with the seconds until the instance's keys move away.
    fn tell(registry: &mut Registry, port: u16, name: &str, seconds_left: Option<u64>) -> bool {
        let report = Report { name: name.parse().expect("a name"), live_sessions: Some(3), seconds_left };
        !registry.record_probe(PoolName::Stateful, addr(port), Ok(report)).is_empty()
    }

    fn fail(registry: &mut Registry, port: u16) -> bool {
        !registry.record_probe(PoolName::Stateful, addr(port), Err(ProbeError::TimedOut)).is_empty()
    }

    fn states(registry: &Registry) -> Vec<(Option<&str>, InstanceState)> {
        registry.slots().iter().map(|slot| (slot.name().map(InstanceName::as_str), slot.state())).collect()
    }

    #[test]
    fn an_address_is_a_member_once_it_has_told_its_name() {
        let mut registry = registry(&[1]);
        assert_eq!(states(&registry), [(None, InstanceState::Pending)]);
        assert!(!fail(&mut registry, 1), "still pending");
        assert!(!pass(&mut registry, 1, "s1"), "one pass is not enough after a failure");
        assert!(pass(&mut registry, 1, "s1"), "the second pass");
        assert_eq!(states(&registry), [(Some("s1"), InstanceState::Healthy)]);
        assert!(!pass(&mut registry, 1, "s1"), "nothing new");
        assert_eq!(registry.slots()[0].live_sessions(), Some(3));
    }

    #[test]
    fn a_second_instance_of_one_name_is_refused_while_the_first_is_well() {
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        pass(&mut registry, 2, "s1");
        assert_eq!(states(&registry), [(Some("s1"), InstanceState::Healthy), (None, InstanceState::DuplicateName)]);
        pass(&mut registry, 2, "s2");
        assert_eq!(states(&registry)[1], (Some("s2"), InstanceState::Healthy), "renamed, it is welcome");
    }

    #[test]
    fn an_instance_that_comes_back_on_another_address_keeps_its_name_and_keys() {
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        pass(&mut registry, 2, "s2");
        let epoch = registry.snapshot(Seed::from_text("test")).epoch;
        for _ in 0..3 {
            fail(&mut registry, 2);
        }
        registry.add(addr(3)).expect("a new address");
        pass(&mut registry, 3, "s2");
        assert_eq!(states(&registry)[1], (Some("s2"), InstanceState::Unhealthy), "one pass is not enough");
        pass(&mut registry, 3, "s2");
        assert_eq!(states(&registry)[1], (None, InstanceState::Pending));
        assert_eq!(states(&registry)[2], (Some("s2"), InstanceState::Healthy));
        assert_eq!(registry.snapshot(Seed::from_text("test")).epoch, epoch, "the same names");
    }

    #[test]
    fn one_failed_check_is_enough_to_lose_the_name_to_a_newcomer_that_is_well() {
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        fail(&mut registry, 1);
        pass(&mut registry, 2, "s1");
        assert_eq!(states(&registry), [(None, InstanceState::Pending), (Some("s1"), InstanceState::Healthy)]);
    }

    #[test]
    fn what_the_control_api_changed_survives_a_restart() {
        let mut before = registry(&[1, 2]);
        pass(&mut before, 1, "s1");
        before.add(addr(3)).expect("a new address");
        pass(&mut before, 3, "s3");
        pass(&mut before, 3, "s3");
        before.remove("127.0.0.1:2").expect("by address");
        before.set_strategy(Strategy::RoundRobin);

        let after = restarted(&[1, 2], before.state());
        assert_eq!(after.state(), before.state());
        assert_eq!(states(&after), [(Some("s1"), InstanceState::Unhealthy), (Some("s3"), InstanceState::Unhealthy)]);
    }

    #[test]
    fn a_newcomer_is_no_member_before_enough_of_its_checks_have_passed() {
        let mut registry = registry(&[1]);
        pass(&mut registry, 1, "s1");
        let epoch = registry.snapshot(Seed::from_text("test")).epoch;
        registry.add(addr(2)).expect("a new address");
        for step in ["+", "-", "+"] {
            let changed = if step == "+" { pass(&mut registry, 2, "s2") } else { fail(&mut registry, 2) };
            assert!(!changed, "{step}");
            assert_eq!(registry.snapshot(Seed::from_text("test")).epoch, epoch);
        }
        assert!(pass(&mut registry, 2, "s2"), "the second in a row");
        assert_eq!(states(&registry)[1], (Some("s2"), InstanceState::Healthy));
    }

    #[test]
    fn a_drain_ends_the_membership_and_a_return_begins_it_again() {
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        pass(&mut registry, 2, "s2");
        let epoch = |registry: &Registry| registry.snapshot(Seed::from_text("test")).epoch;
        let both = epoch(&registry);
        assert!(tell(&mut registry, 2, "s2", Some(30)));
        assert_eq!((states(&registry)[1].1, epoch(&registry)), (InstanceState::Draining, both));
        assert!(tell(&mut registry, 2, "s2", Some(0)));
        assert_eq!(states(&registry)[1].1, InstanceState::Drained);
        assert_ne!(epoch(&registry), both);
        assert_eq!(registry.state().names.len(), 1, "after a restart it is no member either");
        for _ in 0..3 {
            assert!(!fail(&mut registry, 2), "it may go now");
        }
        assert!(!pass(&mut registry, 2, "s2"), "back, and drained until two checks have passed");
        assert!(pass(&mut registry, 2, "s2"));
        assert_eq!((states(&registry)[1].1, epoch(&registry)), (InstanceState::Healthy, both));
    }

    #[test]
    fn the_last_that_can_serve_serves_on() {
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        tell(&mut registry, 2, "s2", Some(0));
        assert_eq!(states(&registry)[1].1, InstanceState::Drained);
        tell(&mut registry, 1, "s1", Some(0));
        let drains = |registry: &Registry| {
            let now = Instant::now();
            registry.slots().iter().filter(|slot| slot.drain(now).is_some_and(|drain| drain.serves_as_the_last)).count()
        };
        assert_eq!((states(&registry)[0].1, drains(&registry)), (InstanceState::Draining, 2), "both can, nobody else");
        pass(&mut registry, 2, "s2");
        assert_eq!(states(&registry)[0].1, InstanceState::Drained, "its stand-in is back");
        assert_eq!(drains(&registry), 0);
    }

    #[test]
    fn a_configuration_that_is_read_anew_leaves_what_the_control_api_changed() {
        let config = |strategy, ports: &[u16]| {
            let instances = ports.iter().map(|&port| addr(port)).collect();
            config::Pool { strategy, instances, load_bound: None, protocol: config::Protocol::Http1 }
        };
        let addrs = |registry: &Registry| registry.slots().iter().map(|slot| slot.addr().port()).collect::<Vec<_>>();
        let mut registry = registry(&[1, 2]);
        pass(&mut registry, 1, "s1");
        registry.add(addr(3)).expect("a new address");
        registry.remove("127.0.0.1:2").expect("by address");
        registry.reconfigure(&config(Strategy::RoundRobin, &[1, 2, 4]), THRESHOLDS);
        assert_eq!(addrs(&registry), [1, 3, 4], "added stays added, removed stays removed");
        assert_eq!(states(&registry)[0], (Some("s1"), InstanceState::Healthy), "nobody is met anew");
        assert_eq!(registry.state().strategy, None, "it follows the file");

        registry.set_strategy(Strategy::Sticky);
        registry.reconfigure(&config(Strategy::RoundRobin, &[2, 4]), THRESHOLDS);
        assert_eq!(addrs(&registry), [3, 4], "the file has no 1 any more");
        assert_eq!(registry.state().strategy, Some(Strategy::Sticky), "it was switched");
    }

    #[test]
    fn adding_twice_and_removing_the_unknown_are_errors() {
        let mut registry = registry(&[1]);
        assert_eq!(registry.add(addr(1)), Err(AddError::KnownAddress(addr(1))));
        assert_eq!(registry.remove("nobody").err(), Some(RemoveError::Unknown));
        assert_eq!(registry.remove("127.0.0.1:9").err(), Some(RemoveError::Unknown));
    }

    #[test]
    fn a_result_for_an_address_that_was_removed_is_ignored() {
        let mut registry = registry(&[1]);
        registry.remove("127.0.0.1:1").expect("there");
        assert!(!pass(&mut registry, 1, "s1"));
    }
}
