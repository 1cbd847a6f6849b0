//! Which weight each member has.

use std::net::SocketAddr;

use proto_contracts::{InstanceName, Weight, WeightDecision};

use crate::pool::drain;
use crate::pool::registry::Registry;
use crate::pool::report::Report;
use crate::pool::slot::Slot;
use crate::pool::state_file::{KnownWeight, KnownWeightDecision};
use crate::pool::weights::UntoldWeight;

impl Registry {
    /// How many shares the instance of this slot gets.
    pub fn weight_of(&self, slot: &Slot) -> Weight {
        let decided = slot.name().and_then(|name| self.weights.decided.get(name)).map(|decision| decision.weight);
        let configured = || self.weights.configured.get(&slot.addr).or_else(|| self.weights.added.get(&slot.addr));
        let announced = || slot.announced_weight.filter(|announced| announced.decided_ms == 0);
        decided
            .or_else(|| configured().copied())
            .or_else(|| announced().map(|announced| announced.weight))
            .unwrap_or_default()
    }

    /// Takes what the instance at this address announces.
    pub(in crate::pool) fn take_weight(&mut self, addr: SocketAddr, report: &Report) {
        let Some(slot) = self.slot(addr) else { return };
        slot.announced_weight = report.weight;
        if slot.name() != Some(&report.name) {
            return;
        }
        let Some(announced) = report.weight.filter(|announced| announced.decided_ms > 0) else { return };
        let known = self.weights.decided.get(&report.name);
        if known.is_none_or(|known| known.decided_ms < announced.decided_ms) {
            self.weights.decided.insert(report.name.clone(), announced);
        }
    }

    /// Who announces an older decision than is known, such as after a restart.
    pub(in crate::pool) fn untold_weights(&self) -> Vec<UntoldWeight> {
        let untold = |slot: &Slot| {
            let decision = *self.weights.decided.get(slot.name()?)?;
            let missed = slot.announced_weight?.decided_ms < decision.decided_ms;
            (missed && slot.announced.is_some()).then_some(UntoldWeight { addr: slot.addr, decision })
        };
        self.slots().iter().filter_map(untold).collect()
    }

    /// Decides the weight of the instance at this address. Returns what was decided before and what it is to be told; nothing
    /// when it has that weight already, or no name.
    pub(in crate::pool) fn decide_weight(
        &mut self,
        addr: SocketAddr,
        weight: Weight,
    ) -> Option<(Option<WeightDecision>, UntoldWeight)> {
        let slot = self.slots().iter().find(|slot| slot.addr == addr)?;
        let name = slot.name()?.clone();
        if self.weight_of(slot) == weight {
            return None;
        }
        let before = self.weights.decided.get(&name).copied();
        let newest = before.map_or(0, |before| before.decided_ms);
        let announced = slot.announced_weight.map_or(0, |announced| announced.decided_ms);
        let decided_ms = drain::unix_ms().max(newest.max(announced) + 1);
        let decision = WeightDecision { weight, decided_ms };
        self.weights.decided.insert(name, decision);
        Some((before, UntoldWeight { addr, decision }))
    }

    /// Takes back a decision that the instance could not be told.
    pub(in crate::pool) fn restore_weight(&mut self, addr: SocketAddr, before: Option<WeightDecision>) {
        let Some(name) = self.slot(addr).and_then(|slot| slot.name().cloned()) else { return };
        match before {
            Some(before) => self.weights.decided.insert(name, before),
            None => self.weights.decided.remove(&name),
        };
    }

    /// Forgets what was said of an instance that is removed.
    pub(in crate::pool) fn forget_weight(&mut self, slot: &Slot) {
        self.weights.added.remove(&slot.addr);
        if let Some(name) = slot.name() {
            self.weights.decided.remove(name);
        }
    }

    /// The weights that the state file keeps: those of addresses that were added, and operators' decisions.
    pub(in crate::pool) fn known_weights(&self) -> (Vec<KnownWeight>, Vec<KnownWeightDecision>) {
        let added = self.weights.added.iter().map(|(&addr, &weight)| KnownWeight { addr, weight });
        let is_there = |name: &InstanceName| self.slots().iter().any(|slot| slot.name() == Some(name));
        let decided = self.weights.decided.iter().filter(|(name, _)| is_there(name));
        let decided = decided.map(|(name, decision)| KnownWeightDecision {
            name: name.clone(),
            weight: decision.weight,
            decided_ms: decision.decided_ms,
        });
        (added.collect(), decided.collect())
    }
}
