//! Operators' decisions about instances: drains and weights. They are saved, announced by the
//! instance and shared by all gateways.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::{Weight, WeightDecision};

use crate::pool::Pool;
use crate::pool::drain::{Decision, PendingDrain};
use crate::pool::last::LastInstance;
use crate::pool::registry::Registry;
use crate::pool::state_file::ChangeError;
use crate::pool::weights::PendingWeight;

/// An undrain that the instance does not announce yet.
#[derive(Clone, Copy, Debug)]
pub struct Undrain {
    /// The decision.
    pub pending: PendingDrain,
    before: Option<Option<Decision>>,
    was_announced: bool,
}

impl Pool {
    /// The address of the instance with that name or address, if it is or was a member.
    pub fn addr_of(&self, label: &str) -> Option<SocketAddr> {
        self.lock().addr_of(label)
    }

    /// Drains an instance. Returns the decision for the instance, unless it announces it.
    ///
    /// # Errors
    /// When it is the last available instance and `force` is not set, or the decision cannot be
    /// saved; then nothing has changed.
    pub fn drain(
        &self,
        addr: SocketAddr,
        deadline: Option<Duration>,
        force: bool,
    ) -> Result<Option<PendingDrain>, ChangeError<LastInstance>> {
        self.decide(addr, |registry| registry.decide_drain(self.name, addr, deadline, force))?;
        Ok(self.lock().pending_drain_at(addr, Instant::now()))
    }

    /// Ends a drain. Returns the decision for the instance, unless there was no drain.
    ///
    /// # Errors
    /// When the decision cannot be saved; then nothing has changed.
    pub fn undrain(&self, addr: SocketAddr) -> Result<Option<Undrain>, ChangeError<Infallible>> {
        let was_announced = self.hosts(|hosts| {
            let host = hosts.iter().find(|host| host.addr() == addr)?;
            Some(host.drain(Instant::now())?.announced && host.announced.is_some())
        });
        let before = self.decide(addr, |registry| Ok(registry.decide_undrain(addr)))?;
        let pending = self.lock().pending_drain_at(addr, Instant::now());
        let undrain =
            |pending| Undrain { pending, before, was_announced: was_announced == Some(true) };
        Ok(pending.map(undrain))
    }

    /// Resumes a drain after the instance rejected the undrain, if the instance announced it.
    /// Returns whether it did; otherwise the gateway retries at the health checks.
    pub fn resume_drain(&self, refused: &Undrain) -> bool {
        if refused.was_announced
            && let Some(before) = refused.before
        {
            self.change(|registry| registry.restore_decision(refused.pending.addr, before));
        }
        refused.was_announced
    }

    /// Sets the weight of an instance. Returns the decision for the instance, unless it has that
    /// weight.
    ///
    /// # Errors
    /// When the decision cannot be saved; then nothing has changed.
    pub fn set_weight(
        &self,
        addr: SocketAddr,
        weight: Weight,
    ) -> Result<Option<(Option<WeightDecision>, PendingWeight)>, ChangeError<Infallible>> {
        self.decide(addr, |registry| Ok(registry.decide_weight(addr, weight)))
    }

    /// Restores the weight before, when the instance did not accept the new one.
    pub fn restore_weight(&self, addr: SocketAddr, before: Option<WeightDecision>) {
        self.change(|registry| registry.restore_weight(addr, before));
    }

    /// Weights that instances do not announce yet.
    pub fn pending_weights(&self) -> Vec<PendingWeight> {
        self.lock().pending_weights()
    }

    /// Calls `look` with the registry, under the lock.
    pub fn with_registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.lock())
    }

    /// Drain decisions that instances do not announce yet.
    pub fn pending_drains(&self) -> Vec<PendingDrain> {
        self.lock().pending_drains(Instant::now())
    }

    /// Records why an instance does not announce its drain.
    pub fn record_drain_failure(&self, addr: SocketAddr, why: String) {
        if self.lock().record_drain_failure(addr, why.clone()) {
            tracing::warn!(
                pool = %self.name,
                %addr,
                error = why,
                "only this gateway drains the instance"
            );
        }
    }

    /// Applies a decision about a drain and saves it.
    fn decide<T, E>(
        &self,
        addr: SocketAddr,
        decide: impl Fn(&mut Registry) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let _file = self.write_ahead(&decide)?;
        let mut registry = self.lock();
        let (changed, outcome) = registry.changed_with(self.name, decide);
        self.publish_changed(&registry, &changed);
        self.save(&registry);
        self.publish_drain(&registry, addr, &changed);
        outcome.map_err(ChangeError::Refused)
    }
}
