//! What operators decide about instances: drains and weights. Each lasts, is announced by the instance, and is known to all
//! gateways.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::{Weight, WeightDecision};

use crate::pool::Pool;
use crate::pool::drain::{Decision, Untold};
use crate::pool::last::LastInstance;
use crate::pool::registry::Registry;
use crate::pool::state_file::ChangeError;
use crate::pool::weights::UntoldWeight;

/// An end of a drain that the instance is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Undrain {
    /// What to tell it.
    pub untold: Untold,
    before: Option<Option<Decision>>,
    was_announced: bool,
}

impl Pool {
    /// Where the instance of that name, or at that address, is a member or was one until it was drained.
    pub fn addr_of(&self, label: &str) -> Option<SocketAddr> {
        self.lock().addr_of(label)
    }

    /// Decides that an instance is drained. Returns what the instance is to be told, unless it announces that already.
    ///
    /// # Errors
    /// When no other instance would serve and `force` is not set, or the decision cannot be saved. Then nothing has changed.
    pub fn drain(
        &self,
        addr: SocketAddr,
        deadline: Option<Duration>,
        force: bool,
    ) -> Result<Option<Untold>, ChangeError<LastInstance>> {
        self.decide(addr, |registry| registry.decide_drain(self.name, addr, deadline, force))?;
        Ok(self.lock().untold_at(addr, Instant::now()))
    }

    /// Decides that an instance serves. Returns what the instance is to be told, unless there was no drain to end.
    ///
    /// # Errors
    /// When the decision cannot be saved. Then nothing has changed.
    pub fn undrain(&self, addr: SocketAddr) -> Result<Option<Undrain>, ChangeError<Infallible>> {
        let was_announced = self.slots(|slots| {
            let slot = slots.iter().find(|slot| slot.addr() == addr)?;
            Some(slot.drain(Instant::now())?.announced && slot.announced.is_some())
        });
        let before = self.decide(addr, |registry| Ok(registry.decide_undrain(addr)))?;
        let untold = self.lock().untold_at(addr, Instant::now());
        let undrain = |untold| Undrain { untold, before, was_announced: was_announced == Some(true) };
        Ok(untold.map(undrain))
    }

    /// Goes on with a drain whose end the instance refuses; returns whether it does. One that is down, or that this
    /// gateway drained alone, is told when it can be.
    pub fn resume_drain(&self, refused: &Undrain) -> bool {
        if refused.was_announced
            && let Some(before) = refused.before
        {
            self.change(|registry| registry.restore_decision(refused.untold.addr, before));
        }
        refused.was_announced
    }

    /// Decides the weight of an instance. Returns what it is to be told, unless it has that weight.
    ///
    /// # Errors
    /// When the decision cannot be saved. Then nothing has changed.
    pub fn set_weight(
        &self,
        addr: SocketAddr,
        weight: Weight,
    ) -> Result<Option<(Option<WeightDecision>, UntoldWeight)>, ChangeError<Infallible>> {
        self.decide(addr, |registry| Ok(registry.decide_weight(addr, weight)))
    }

    /// Takes back a weight that the instance could not be told.
    pub fn restore_weight(&self, addr: SocketAddr, before: Option<WeightDecision>) {
        self.change(|registry| registry.restore_weight(addr, before));
    }

    /// Which instances are yet to be told their weights.
    pub fn untold_weights(&self) -> Vec<UntoldWeight> {
        self.lock().untold_weights()
    }

    /// Looks at every address that the pool knows, with its weight and how much of that it gets of what is new.
    pub fn weighed<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.lock())
    }

    /// Which instances are yet to be told what was decided about their drain.
    pub fn untold(&self) -> Vec<Untold> {
        self.lock().untold(Instant::now())
    }

    /// Takes why an instance could not be told, to show operators.
    pub fn not_told(&self, addr: SocketAddr, why: String) {
        if self.lock().not_told(addr, why.clone()) {
            tracing::warn!(pool = %self.name, %addr, error = why, "this gateway alone drains the instance");
        }
    }

    /// Makes a decision about a drain, which lasts as [`Self::change_durably`] has it.
    fn decide<T, E>(
        &self,
        addr: SocketAddr,
        decide: impl Fn(&mut Registry) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let _file = self.write_ahead(&decide)?;
        let mut registry = self.lock();
        let (changed, outcome) = registry.changed_with(self.name, decide);
        self.instances_changed(&registry, &changed);
        self.save(&registry);
        self.drain_progressed(&registry, addr, &changed);
        outcome.map_err(ChangeError::Refused)
    }
}
