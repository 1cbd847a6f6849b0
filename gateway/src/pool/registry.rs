//! Every address that a pool knows, and which of them are members under which name.

mod discovery;
mod drains;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{InstanceName, PoolName, Weight};

use crate::config::{self, Thresholds};
use crate::pool::discovered::Discovered;
use crate::pool::drain::{self, Decision};
use crate::pool::health::Health;
use crate::pool::instance::Instance;
use crate::pool::last::LastInstance;
use crate::pool::report::{ProbeError, Report};
use crate::pool::slot::{Slot, label};
use crate::pool::slow_start::SlowStart;
use crate::pool::snapshot::{Entry, Snapshot};
use crate::pool::state_file::{KnownName, KnownWeightDecision, PoolState};
use crate::pool::weights::Weights;
use crate::rendezvous::Seed;
use crate::resilience::outlier::{Policy, Reason};

/// Instances that have both let requests wait within this time may have done so for the same reason.
const OF_LATE: Duration = Duration::from_secs(5);

/// The address cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// It is there already.
    #[error("the pool has an instance at {0} already")]
    KnownAddress(SocketAddr),
}

/// The instance cannot be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none of that name or at that address.
    #[error("the pool has no instance of that name or at that address")]
    Unknown,
    /// Without it nothing serves.
    #[error(transparent)]
    Last(#[from] LastInstance),
}

/// The membership of one pool, as it is changed.
#[derive(Clone, Debug)]
pub struct Registry {
    strategy: Strategy,
    thresholds: Thresholds,
    configured_strategy: Strategy,
    configured: Vec<SocketAddr>,
    pub(super) discovered: Option<Discovered>,
    slots: Vec<Slot>,
    /// What operators last decided about draining each instance.
    pub(super) decisions: BTreeMap<InstanceName, Decision>,
    pub(super) weights: Weights,
    /// Over which time a newcomer's share of what is new grows.
    slow_start: Duration,
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
        let discovered = config.discover.clone().map(|name| Discovered::known_before(name, state.discovered));
        let mut registry = Self {
            strategy: state.strategy.unwrap_or(config.strategy),
            thresholds,
            configured_strategy: config.strategy,
            configured: config.instances.clone(),
            discovered,
            slots: Vec::new(),
            decisions: drain::decisions(state.drain_decisions),
            weights: Weights {
                configured: config.weights.clone(),
                added: state.weights.into_iter().map(|known| (known.addr, known.weight)).collect(),
                decided: state.weight_decisions.into_iter().map(KnownWeightDecision::into).collect(),
            },
            slow_start: config.slow_start,
        };
        let given: Vec<_> = registry.given().filter(|addr| !state.removed.contains(addr)).collect();
        for addr in given.into_iter().chain(state.added) {
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
        registry.resume_drains(Instant::now());
        registry
    }

    /// Every address, in the order in which they came.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn slots_mut(&mut self) -> &mut Vec<Slot> {
        &mut self.slots
    }

    /// The members' names, in the order of their addresses.
    pub fn names(&self) -> Vec<InstanceName> {
        self.slots.iter().filter_map(Slot::name).cloned().collect()
    }

    /// The members as the data path sees them.
    pub fn snapshot(&self, seed: Seed) -> Snapshot {
        let now = Instant::now();
        let entry = |slot: &Slot| {
            let (instance, state) = (Arc::clone(slot.instance()?), slot.state());
            Some(Entry { instance, state, weight: self.weight_of(slot), slow_start: self.slow_start_of(slot, now) })
        };
        Snapshot::new(self.strategy, seed, self.slots.iter().filter_map(entry))
    }

    /// How much of its share the instance of this slot gets of what is new.
    pub fn slow_start_of(&self, slot: &Slot, now: Instant) -> SlowStart {
        slot.serving.slow_start(self.slow_start, now)
    }

    /// Whether the share of any instance grows since the last look.
    pub(super) fn starts_slowly(&mut self, now: Instant) -> bool {
        let window = self.slow_start;
        // Each is looked at: a look ends what is over.
        self.slots.iter_mut().filter_map(|slot| slot.serving.grows(window, now).then_some(())).count() > 0
    }

    /// The addresses that the control API has no part in: configured or discovered.
    pub(super) fn given(&self) -> impl Iterator<Item = SocketAddr> {
        let discovered = self.discovered.iter().flat_map(Discovered::addrs);
        self.configured.iter().chain(discovered).copied()
    }

    /// What must survive a restart.
    pub fn state(&self) -> PoolState {
        let addrs: Vec<_> = self.slots.iter().map(Slot::addr).collect();
        let given: Vec<_> = self.given().collect();
        let is_added = |slot: &&Slot| !slot.absent && !given.contains(&slot.addr);
        // One that stops is no member, so it must not be one after a restart. One that an operator drained is known to be.
        let known = |slot: &Slot| {
            let name = slot.name().filter(|name| !slot.drained || self.is_decided(name))?;
            Some(KnownName { addr: slot.addr, name: name.clone() })
        };
        let (weights, weight_decisions) = self.known_weights();
        PoolState {
            strategy: (self.strategy != self.configured_strategy).then_some(self.strategy),
            added: self.slots.iter().filter(is_added).map(Slot::addr).collect(),
            removed: given.iter().filter(|addr| !addrs.contains(addr)).copied().collect(),
            discovered: self.discovered.iter().flat_map(Discovered::addrs).copied().collect(),
            names: self.slots.iter().filter_map(known).collect(),
            drain_decisions: self.known_decisions(),
            weights,
            weight_decisions,
        }
    }

    /// Takes a configuration that was read anew, as a restart would: what the control API changed wins over it. Instances that
    /// stay keep their health and their names.
    pub fn reconfigure(&mut self, config: &config::Pool, thresholds: Thresholds) {
        let PoolState { strategy, added, removed, discovered, .. } = self.state();
        self.strategy = strategy.unwrap_or(config.strategy);
        self.configured_strategy = config.strategy;
        self.configured.clone_from(&config.instances);
        self.weights.configured.clone_from(&config.weights);
        self.slow_start = config.slow_start;
        self.thresholds = thresholds;
        if self.discovered.as_ref().map(Discovered::name) != config.discover.as_ref() {
            // Until the new name is looked up, what the old one had serves on.
            self.discovered = config.discover.clone().map(|name| Discovered::known_before(name, discovered));
        }
        let wanted: Vec<_> = self.given().filter(|addr| !removed.contains(addr)).chain(added).collect();
        let is_discovered = self.discovered.is_some();
        self.slots.retain(|slot| wanted.contains(&slot.addr) || (slot.absent && is_discovered));
        for addr in wanted {
            if self.slot(addr).is_none() {
                self.slots.push(Slot::new(addr));
            }
        }
    }

    /// Switches the strategy.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    /// Adds an address.
    ///
    /// # Errors
    /// When it is there already.
    pub fn add(&mut self, addr: SocketAddr, weight: Option<Weight>) -> Result<(), AddError> {
        if self.slot(addr).is_some() {
            return Err(AddError::KnownAddress(addr));
        }
        self.slots.push(Slot::newcomer(addr));
        if let Some(weight) = weight {
            self.weights.added.insert(addr, weight);
        }
        Ok(())
    }

    /// Removes the instance of that name or at that address, and what was decided about it.
    ///
    /// # Errors
    /// When there is none, or no other serves and `force` is not set.
    pub fn remove(&mut self, pool: PoolName, label: &str, force: bool) -> Result<Slot, RemoveError> {
        let place = self.place_of(label).ok_or(RemoveError::Unknown)?;
        if !force {
            LastInstance::refuse(&self.slots, pool, self.slots[place].addr, "removing")?;
        }
        let removed = self.slots.remove(place);
        if let Some(name) = removed.name() {
            self.decisions.remove(name);
        }
        self.forget_weight(&removed);
        self.settle(Instant::now());
        Ok(removed)
    }

    /// The place of the instance of that name or at that address.
    fn place_of(&self, label: &str) -> Option<usize> {
        let is_it = |slot: &Slot| slot.name().is_some_and(|name| name.as_str() == label);
        let by_name = self.slots.iter().position(is_it);
        let addr = label.parse::<SocketAddr>().ok();
        by_name.or_else(|| self.slots.iter().position(|slot| Some(slot.addr) == addr))
    }

    /// Where the instance of that name, or at that address, is a member or was one until it was drained.
    pub fn addr_of(&self, label: &str) -> Option<SocketAddr> {
        self.place_of(label).map(|place| &self.slots[place]).filter(|slot| slot.name().is_some()).map(Slot::addr)
    }

    /// Takes the result of a health check, and tells the addresses of those that are in another state than before or have
    /// another name: the one that was checked, and those for which it makes a difference.
    pub fn record_probe(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        result: Result<Report, ProbeError>,
    ) -> Vec<SocketAddr> {
        self.changed_with(pool, |registry| registry.take_probe(pool, addr, result)).0
    }

    /// Makes a change, and returns the addresses of those that are in another state than before or have another name.
    pub(super) fn changed_with<T>(
        &mut self,
        pool: PoolName,
        change: impl FnOnce(&mut Self) -> T,
    ) -> (Vec<SocketAddr>, T) {
        let look =
            |registry: &Self, slot: &Slot| (slot.addr, slot.state(), slot.name().cloned(), registry.weight_of(slot));
        let before: Vec<_> = self.slots.iter().map(|slot| look(self, slot)).collect();
        let outcome = change(self);
        let changed = self.slots.iter().filter(|slot| !before.contains(&look(self, slot)));
        (changed.map(|slot| (log_change(pool, slot), slot.addr).1).collect(), outcome)
    }

    fn take_probe(&mut self, pool: PoolName, addr: SocketAddr, result: Result<Report, ProbeError>) {
        let (thresholds, now) = (self.thresholds, Instant::now());
        // It may have been removed while it was being checked.
        let Some(slot) = self.slot(addr) else { return };
        match result {
            Err(error) => {
                slot.health = slot.health.fail(thresholds);
                slot.mismatch = match &error {
                    // Requests that go there fail, so no second check is waited for.
                    ProbeError::Mismatch(mismatch) => {
                        slot.health = Health::DOWN;
                        Some(mismatch.label())
                    }
                    _ => None,
                };
                slot.last_error = Some(error.to_string());
                slot.announced = None;
                // Its weight is remembered: while it is down its keys' homes stay as they are.
            }
            Ok(report) => {
                slot.health = slot.health.pass(thresholds);
                slot.last_error = None;
                slot.mismatch = None;
                if slot.version.as_deref() != report.version.as_deref() {
                    slot.version = report.version.clone();
                }
                if slot.health.is_up()
                    && slot.ejections.end_if_over(now)
                    && let Some(instance) = &slot.instance
                {
                    instance.clear_failures();
                }
                slot.reports_sessions = report.live_sessions.is_some();
                let join = if slot.health.is_up() || slot.instance.is_some() { Join::Now } else { Join::Later };
                self.claim(pool, addr, report.name.clone(), join);
                if let (Some(sessions), Some(instance)) =
                    (report.live_sessions, self.slot(addr).and_then(|slot| slot.instance.as_ref()))
                {
                    instance.report_sessions(sessions);
                }
                self.take_weight(addr, &report);
                self.take_announcement(addr, &report, now);
            }
        }
        self.settle(now);
    }

    /// Leaves out an instance that failed requests, unless too few would be left, and tells at which address it is. What all of
    /// them suffer is held against none: they may wait for a database that is away.
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
        let are_others_slow = || {
            let healthy = self.slots.iter().filter(|slot| slot.state() == InstanceState::Healthy);
            let mut others =
                healthy.filter_map(|slot| slot.instance.as_ref()).filter(|other| !Arc::ptr_eq(other, instance));
            others.all(|other| other.has_timed_out_within(OF_LATE, now))
        };
        let is_shared = reason == Reason::Timeouts && are_others_slow();
        let slot = self.slots.iter_mut().find(is_it)?;
        if slot.state() != InstanceState::Healthy {
            return None;
        }
        let why = reason.describe(policy.consecutive_failures);
        let spared = match (too_few_left, is_shared) {
            (true, _) => Some("too few instances would be left"),
            (_, true) => Some("all others let requests wait as well, so it is something that they share"),
            _ => None,
        };
        if let Some(spared) = spared {
            tracing::warn!(%pool, instance = %instance.name(), why, "not ejected: {spared}");
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
                if let Some(slot) = self.slot(addr) {
                    slot.last_error = Some(format!(
                        "it calls itself {name}, as the healthy instance at {held_by} does: give each its own INSTANCE_ID"
                    ));
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
    let instance = label(slot.name(), slot.addr);
    let (addr, state) = (slot.addr, slot.state());
    match slot.last_error() {
        None => tracing::info!(%pool, instance, %addr, %state, "instance changed"),
        Some(error) => tracing::warn!(%pool, instance, %addr, %state, error, "instance changed"),
    }
}
