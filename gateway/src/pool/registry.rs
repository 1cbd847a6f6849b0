//! The known addresses of a pool, and which of them are members.

mod discovery;
mod drains;
mod ejection;
mod leases;
mod probes;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::control::Strategy;
use proto_contracts::{InstanceName, PoolName, Weight};

use crate::config::{self, Lab, Thresholds, UpstreamTls};
use crate::pool::discovered::Discovered;
use crate::pool::drain::{self, Decision};
use crate::pool::host::{Host, label};
use crate::pool::instance::Instance;
use crate::pool::last::LastInstance;
use crate::pool::slow_start::SlowStart;
use crate::pool::snapshot::{Entry, Snapshot};
use crate::pool::state_file::{KnownName, KnownWeightDecision, PoolState};
use crate::pool::weights::Weights;
use crate::rendezvous::Seed;

/// Why an address cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The pool already has it.
    #[error("the pool already has an instance at {0}")]
    KnownAddress(SocketAddr),
    /// It is a member without a lease.
    #[error("the instance at {0} is a member without a lease, which a lease would end")]
    Lasting(SocketAddr),
}

/// A strategy of the lab, which is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is only for lessons; it needs [lab] enabled = true in the gateway's configuration")]
pub struct ClosedLab(Strategy);

/// Why an instance cannot be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// No instance has that name or address.
    #[error("the pool has no instance with that name or address")]
    Unknown,
    /// It is the last available one.
    #[error(transparent)]
    Last(#[from] LastInstance),
}

/// The mutable membership of one pool.
#[derive(Clone, Debug)]
pub struct Registry {
    strategy: Strategy,
    lab: Lab,
    thresholds: Thresholds,
    configured_strategy: Strategy,
    configured: Vec<SocketAddr>,
    pub(super) discovered: Option<Discovered>,
    hosts: Vec<Host>,
    /// Operators' last drain decisions, by name.
    pub(super) decisions: BTreeMap<InstanceName, Decision>,
    pub(super) weights: Weights,
    /// The window of slow start.
    slow_start: Duration,
    /// TLS to the instances, which a reload does not change.
    pub(super) tls: Option<UpstreamTls>,
}

/// The saved strategy, or the configured one. One of the lab ends with the lab.
fn strategy_of(config: &config::PoolConfig, saved: Option<Strategy>) -> Strategy {
    let is_offered = |saved: &Strategy| config.lab == Lab::Open || !saved.is_of_the_lab();
    saved.filter(is_offered).unwrap_or(config.strategy)
}

impl Registry {
    /// The configured instances with the saved changes of the control API.
    pub fn new(config: &config::PoolConfig, thresholds: Thresholds, state: PoolState) -> Self {
        let discovered =
            config.discover.clone().map(|name| Discovered::restored(name, state.discovered));
        let mut registry = Self {
            strategy: strategy_of(config, state.strategy),
            lab: config.lab,
            thresholds,
            configured_strategy: config.strategy,
            configured: config.instances.clone(),
            discovered,
            hosts: Vec::new(),
            decisions: drain::decisions(state.drain_decisions),
            weights: Weights {
                configured: config.weights.clone(),
                added: state.weights.into_iter().map(|known| (known.addr, known.weight)).collect(),
                decided: state
                    .weight_decisions
                    .into_iter()
                    .map(KnownWeightDecision::into)
                    .collect(),
            },
            slow_start: config.slow_start,
            tls: config.tls.clone(),
        };
        let given: Vec<_> = registry.given().filter(|addr| !state.removed.contains(addr)).collect();
        for addr in given.into_iter().chain(state.added) {
            if registry.host(addr).is_none() {
                registry.hosts.push(Host::new(addr));
            }
        }
        // An instance that is down while the gateway starts keeps its keys: it stays a member with
        // its saved name.
        for KnownName { addr, name } in state.names {
            let instance = Instance::new(name, addr, registry.tls.as_ref());
            if !registry.names().contains(instance.name())
                && let Some(host) = registry.host(addr)
            {
                host.instance = Some(Arc::new(instance));
            }
        }
        registry.resume_drains(Instant::now());
        registry
    }

    /// All addresses, in the order of their addition.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(super) fn hosts_mut(&mut self) -> &mut Vec<Host> {
        &mut self.hosts
    }

    /// The members' names, in the order of addresses.
    pub fn names(&self) -> Vec<InstanceName> {
        self.hosts.iter().filter_map(Host::name).cloned().collect()
    }

    /// The snapshot for the data path.
    pub fn snapshot(&self, seed: Seed) -> Snapshot {
        let now = Instant::now();
        let entry = |host: &Host| {
            let (instance, state) = (Arc::clone(host.instance()?), host.state());
            Some(Entry {
                instance,
                state,
                weight: self.weight_of(host),
                slow_start: self.slow_start_of(host, now),
            })
        };
        Snapshot::new(self.strategy, seed, self.hosts.iter().filter_map(entry))
    }

    /// The host's share of new load.
    pub fn slow_start_of(&self, host: &Host, now: Instant) -> SlowStart {
        host.serving.slow_start(self.slow_start, now)
    }

    /// Whether any host's share of new load changed since the last call.
    pub(super) fn starts_slowly(&mut self, now: Instant) -> bool {
        let window = self.slow_start;
        // No short circuit: the call has a side effect.
        self.hosts
            .iter_mut()
            .filter_map(|host| host.serving.grows(window, now).then_some(()))
            .count()
            > 0
    }

    /// Configured and discovered addresses.
    pub(super) fn given(&self) -> impl Iterator<Item = SocketAddr> {
        let discovered = self.discovered.iter().flat_map(Discovered::addrs);
        self.configured.iter().chain(discovered).copied()
    }

    /// The state to save.
    pub fn state(&self) -> PoolState {
        // A leased membership ends with a restart.
        let lasting = || self.hosts.iter().filter(|host| host.lease.is_none());
        let addrs: Vec<_> = lasting().map(Host::addr).collect();
        let given: Vec<_> = self.given().collect();
        let is_added = |host: &&Host| !host.absent && !given.contains(&host.addr);
        // A stopped instance must not be a member after a restart; a drained one has a saved
        // decision.
        let known = |host: &Host| {
            let name = host.name().filter(|name| !host.drained || self.is_decided(name))?;
            Some(KnownName { addr: host.addr, name: name.clone() })
        };
        let (weights, weight_decisions) = self.known_weights();
        PoolState {
            strategy: (self.strategy != self.configured_strategy).then_some(self.strategy),
            added: lasting().filter(is_added).map(Host::addr).collect(),
            removed: given.iter().filter(|addr| !addrs.contains(addr)).copied().collect(),
            discovered: self.discovered.iter().flat_map(Discovered::addrs).copied().collect(),
            names: lasting().filter_map(known).collect(),
            drain_decisions: self.known_decisions(),
            weights,
            weight_decisions,
        }
    }

    /// Applies a reloaded configuration, with changes of the control API on top. Instances that
    /// stay keep their health and names.
    pub fn reconfigure(&mut self, config: &config::PoolConfig, thresholds: Thresholds) {
        let PoolState { strategy, added, removed, discovered, .. } = self.state();
        self.strategy = strategy_of(config, strategy);
        self.lab = config.lab;
        self.configured_strategy = config.strategy;
        self.configured.clone_from(&config.instances);
        self.weights.configured.clone_from(&config.weights);
        self.slow_start = config.slow_start;
        self.thresholds = thresholds;
        if self.discovered.as_ref().map(Discovered::name) != config.discover.as_ref() {
            // The old addresses stay until the first lookup of the new name.
            self.discovered =
                config.discover.clone().map(|name| Discovered::restored(name, discovered));
        }
        let wanted: Vec<_> =
            self.given().filter(|addr| !removed.contains(addr)).chain(added).collect();
        let is_discovered = self.discovered.is_some();
        let stays = |host: &Host| host.lease.is_some() || (host.absent && is_discovered);
        self.hosts.retain(|host| wanted.contains(&host.addr) || stays(host));
        for addr in wanted {
            if self.host(addr).is_none() {
                self.hosts.push(Host::new(addr));
            }
        }
    }

    /// Switches the strategy.
    ///
    /// # Errors
    /// When it is one of the lab, and the lab is closed.
    pub fn set_strategy(&mut self, strategy: Strategy) -> Result<(), ClosedLab> {
        if self.lab == Lab::Closed && strategy.is_of_the_lab() {
            return Err(ClosedLab(strategy));
        }
        self.strategy = strategy;
        Ok(())
    }

    /// Adds an address, with or without an end of its lease.
    ///
    /// # Errors
    /// When the pool already has it.
    pub fn add(
        &mut self,
        addr: SocketAddr,
        weight: Option<Weight>,
        lease: Option<Instant>,
    ) -> Result<(), AddError> {
        if self.host(addr).is_some() {
            return Err(AddError::KnownAddress(addr));
        }
        self.hosts.push(Host { lease, ..Host::newcomer(addr) });
        if let Some(weight) = weight {
            self.weights.added.insert(addr, weight);
        }
        Ok(())
    }

    /// Removes the instance with that name or address, and decisions about it.
    ///
    /// # Errors
    /// When there is none, or it is the last available one and `force` is not set.
    pub fn remove(
        &mut self,
        pool: PoolName,
        label: &str,
        force: bool,
    ) -> Result<Host, RemoveError> {
        let place = self.place_of(label).ok_or(RemoveError::Unknown)?;
        if !force {
            LastInstance::check(&self.hosts, pool, self.hosts[place].addr, "removing")?;
        }
        let removed = self.hosts.remove(place);
        if let Some(name) = removed.name() {
            self.decisions.remove(name);
        }
        self.forget_weight(&removed);
        self.update_drain_states(Instant::now());
        Ok(removed)
    }

    /// The index of the instance with that name or address.
    fn place_of(&self, label: &str) -> Option<usize> {
        let is_it = |host: &Host| host.name().is_some_and(|name| name.as_str() == label);
        let by_name = self.hosts.iter().position(is_it);
        let addr = label.parse::<SocketAddr>().ok();
        by_name.or_else(|| self.hosts.iter().position(|host| Some(host.addr) == addr))
    }

    /// The address of the instance with that name or address, if it is or was a member.
    pub fn addr_of(&self, label: &str) -> Option<SocketAddr> {
        self.place_of(label)
            .map(|place| &self.hosts[place])
            .filter(|host| host.name().is_some())
            .map(Host::addr)
    }

    /// Makes a change. Returns the addresses whose state, name or weight changed.
    pub(super) fn changed_with<T>(
        &mut self,
        pool: PoolName,
        change: impl FnOnce(&mut Self) -> T,
    ) -> (Vec<SocketAddr>, T) {
        let look = |registry: &Self, host: &Host| {
            (host.addr, host.state(), host.name().cloned(), registry.weight_of(host))
        };
        let before: Vec<_> = self.hosts.iter().map(|host| look(self, host)).collect();
        let outcome = change(self);
        let changed = self.hosts.iter().filter(|host| !before.contains(&look(self, host)));
        (changed.map(|host| (log_change(pool, host), host.addr).1).collect(), outcome)
    }

    pub(super) fn host(&mut self, addr: SocketAddr) -> Option<&mut Host> {
        self.hosts.iter_mut().find(|host| host.addr == addr)
    }
}

fn log_change(pool: PoolName, host: &Host) {
    let instance = label(host.name(), host.addr);
    let (addr, state) = (host.addr, host.state());
    match host.last_error() {
        None => tracing::info!(%pool, instance, %addr, %state, "instance changed"),
        Some(error) => tracing::warn!(%pool, instance, %addr, %state, error, "instance changed"),
    }
}
