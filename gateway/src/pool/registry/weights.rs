//! The weights of members.

use std::net::SocketAddr;

use proto_contracts::{InstanceName, Weight, WeightDecision};

use crate::pool::drain;
use crate::pool::host::Host;
use crate::pool::registry::Registry;
use crate::pool::report::Report;
use crate::pool::state_file::{KnownWeight, KnownWeightDecision};
use crate::pool::weights::PendingWeight;

impl Registry {
    /// The weight of this host.
    pub fn weight_of(&self, host: &Host) -> Weight {
        let decided = host
            .name()
            .and_then(|name| self.weights.decided.get(name))
            .map(|decision| decision.weight);
        let configured = || {
            self.weights.configured.get(&host.addr).or_else(|| self.weights.added.get(&host.addr))
        };
        let announced = || host.announced_weight.filter(|announced| announced.decided_ms == 0);
        decided
            .or_else(|| configured().copied())
            .or_else(|| announced().map(|announced| announced.weight))
            .unwrap_or_default()
    }

    /// Applies the announced weight.
    pub(in crate::pool) fn apply_weight(&mut self, addr: SocketAddr, report: &Report) {
        let Some(host) = self.host(addr) else { return };
        host.announced_weight = report.weight;
        if host.name() != Some(&report.name) {
            return;
        }
        let Some(announced) = report.weight.filter(|announced| announced.decided_ms > 0) else {
            return;
        };
        let known = self.weights.decided.get(&report.name);
        if known.is_none_or(|known| known.decided_ms < announced.decided_ms) {
            self.weights.decided.insert(report.name.clone(), announced);
        }
    }

    /// Decisions newer than what instances announce, such as after a restart.
    pub(in crate::pool) fn pending_weights(&self) -> Vec<PendingWeight> {
        let pending = |host: &Host| {
            let decision = *self.weights.decided.get(host.name()?)?;
            let missed = host.announced_weight?.decided_ms < decision.decided_ms;
            (missed && host.announced.is_some())
                .then_some(PendingWeight { addr: host.addr, decision })
        };
        self.hosts().iter().filter_map(pending).collect()
    }

    /// Sets the weight of the instance at this address. Returns the decisions before and now;
    /// `None` if it already has that weight, or no name.
    pub(in crate::pool) fn decide_weight(
        &mut self,
        addr: SocketAddr,
        weight: Weight,
    ) -> Option<(Option<WeightDecision>, PendingWeight)> {
        let host = self.hosts().iter().find(|host| host.addr == addr)?;
        let name = host.name()?.clone();
        if self.weight_of(host) == weight {
            return None;
        }
        let before = self.weights.decided.get(&name).copied();
        let newest = before.map_or(0, |before| before.decided_ms);
        let announced = host.announced_weight.map_or(0, |announced| announced.decided_ms);
        let decided_ms = drain::unix_ms().max(newest.max(announced) + 1);
        let decision = WeightDecision { weight, decided_ms };
        self.weights.decided.insert(name, decision);
        Some((before, PendingWeight { addr, decision }))
    }

    /// Restores the decision before, when the instance did not accept the new one.
    pub(in crate::pool) fn restore_weight(
        &mut self,
        addr: SocketAddr,
        before: Option<WeightDecision>,
    ) {
        let Some(name) = self.host(addr).and_then(|host| host.name().cloned()) else { return };
        match before {
            Some(before) => self.weights.decided.insert(name, before),
            None => self.weights.decided.remove(&name),
        };
    }

    /// Drops the weights of a removed instance.
    pub(in crate::pool) fn forget_weight(&mut self, host: &Host) {
        self.weights.added.remove(&host.addr);
        if let Some(name) = host.name() {
            self.weights.decided.remove(name);
        }
    }

    /// The weights for the state file: of added addresses, and operators' decisions.
    pub(in crate::pool) fn known_weights(&self) -> (Vec<KnownWeight>, Vec<KnownWeightDecision>) {
        let added = self.weights.added.iter().map(|(&addr, &weight)| KnownWeight { addr, weight });
        let is_there =
            |name: &InstanceName| self.hosts().iter().any(|host| host.name() == Some(name));
        let decided = self.weights.decided.iter().filter(|(name, _)| is_there(name));
        let decided = decided.map(|(name, decision)| KnownWeightDecision {
            name: name.clone(),
            weight: decision.weight,
            decided_ms: decision.decided_ms,
        });
        (added.collect(), decided.collect())
    }
}
