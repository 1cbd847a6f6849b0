//! A pool: which instances serve one service, how they are, and by which strategy requests are routed to them.
//!
//! The data path reads a [`Snapshot`] and takes no lock. Whoever changes the membership (health checks, the control
//! API) goes through the [`Registry`] behind the pool's lock, which then publishes a new snapshot.

mod decisions;
mod discovered;
mod drain;
mod ejection;
mod health;
pub mod identity;
mod instance;
mod last;
mod registry;
mod report;
mod slot;
pub mod slow_start;
pub mod snapshot;
pub mod state_file;
mod weights;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use proto_contracts::control::{Discovery, Event, InstanceState, Lasts, Strategy};
use proto_contracts::{PoolName, Weight};

pub use decisions::Undrain;
pub use discovered::Occasion;
pub use drain::Untold;
pub use instance::{InFlight, Instance, Load, Witness};
pub use last::LastInstance;
pub use registry::{AddError, Registry, RemoveError};
pub use report::{ProbeError, Report};
pub use slot::{Slot, label};
pub use snapshot::{Member, Snapshot};
pub use weights::UntoldWeight;

use crate::config::{self, Protocol, ServiceName, Thresholds};
use crate::events::Events;
use crate::pool::discovered::Found;
use crate::pool::state_file::{ChangeError, StateFile};
use crate::rendezvous::Seed;
use crate::resilience::load_bound::{LoadBound, SharedBound};
use crate::resilience::outlier::{Policy, Reason};

/// One of the gateway's pools.
#[derive(Debug)]
pub struct Pool {
    name: PoolName,
    seed: Seed,
    load_bound: SharedBound,
    protocol: Protocol,
    snapshot: ArcSwap<Snapshot>,
    cursor: AtomicUsize,
    /// Changes read what they change, so they must not overlap. They are rare, and the data path never waits for one.
    registry: Mutex<Registry>,
    state_file: Arc<StateFile>,
    events: Events,
}

impl Pool {
    /// The pool as configured, with what the control API changed in an earlier life.
    pub fn new(
        name: PoolName,
        config: &config::Pool,
        thresholds: Thresholds,
        seed: Seed,
        state_file: Arc<StateFile>,
        events: Events,
    ) -> Self {
        let registry = Registry::new(config, thresholds, state_file.load(name));
        let snapshot = ArcSwap::from_pointee(registry.snapshot(seed));
        Self {
            name,
            seed,
            load_bound: SharedBound::new(config.load_bound),
            protocol: config.protocol,
            snapshot,
            cursor: AtomicUsize::new(0),
            registry: Mutex::new(registry),
            state_file,
            events,
        }
    }

    /// Which pool this is.
    pub fn name(&self) -> PoolName {
        self.name
    }

    /// The members and the strategy now.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Whose turn it is under round robin.
    pub fn cursor(&self) -> &AtomicUsize {
        &self.cursor
    }

    /// The seed of its rendezvous hashes.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// How many requests its sticky path lets an instance have in flight; `None` for any number.
    pub fn load_bound(&self) -> Option<LoadBound> {
        self.load_bound.get()
    }

    /// What is spoken with its instances.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether its requests have affinity keys: always in the stateful pool, so that switching its strategy back
    /// finds every session at home; in the stateless one only while it is sticky.
    pub fn tracks_keys(&self, strategy: Strategy) -> bool {
        self.name == PoolName::Stateful || strategy == Strategy::Sticky
    }

    /// Looks at every address that the pool knows, members or not.
    pub fn slots<T>(&self, look: impl FnOnce(&[Slot]) -> T) -> T {
        look(self.lock().slots())
    }

    /// Takes a configuration that was read anew. What the control API changed stays as it is.
    pub fn reconfigure(&self, config: &config::Pool, thresholds: Thresholds) {
        self.load_bound.set(config.load_bound);
        self.change(|registry| registry.reconfigure(config, thresholds));
    }

    /// Switches the strategy, from the next request on.
    ///
    /// # Errors
    /// When that cannot be saved. Then nothing has changed.
    pub fn set_strategy(&self, strategy: Strategy) -> Result<(), ChangeError<Infallible>> {
        self.change_durably(|registry| {
            registry.set_strategy(strategy);
            Ok(())
        })?;
        tracing::info!(pool = %self.name, %strategy, "strategy switched");
        self.events.publish(|| Event::StrategyChanged { pool: self.name, strategy });
        Ok(())
    }

    /// Adds an address. It becomes a member when enough health checks in a row have passed and told its name.
    ///
    /// # Errors
    /// When the pool has that address already, or the change cannot be saved. Then nothing has changed.
    pub fn add(&self, addr: SocketAddr, weight: Option<Weight>) -> Result<(), ChangeError<AddError>> {
        self.change_durably(|registry| registry.add(addr, weight))?;
        tracing::info!(pool = %self.name, %addr, "instance added");
        self.events.publish(|| Event::InstanceAdded { pool: self.name, addr });
        Ok(())
    }

    /// Removes the instance of that name, or at that address. Requests in flight at it go on.
    ///
    /// # Errors
    /// When the pool has no such instance, no other serves and `force` is not set, or the change cannot be saved. Then
    /// nothing has changed.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), ChangeError<RemoveError>> {
        let slot = self.change_durably(|registry| registry.remove(self.name, name, force))?;
        self.tell_removed(&slot);
        Ok(())
    }

    /// Takes an address back that was just added. It is gone at once, and saved as soon as the disk takes it.
    pub fn take_back(&self, addr: SocketAddr) {
        if let Ok(slot) = self.change(|registry| registry.remove(self.name, &addr.to_string(), true)) {
            self.tell_removed(&slot);
        }
    }

    /// For how long the changes of operators last.
    pub fn changes_last(&self) -> Lasts {
        self.state_file.lasts()
    }

    fn tell_removed(&self, slot: &Slot) {
        let instance = label(slot.name(), slot.addr());
        tracing::info!(pool = %self.name, instance, addr = %slot.addr(), "instance removed");
        self.events.publish(|| Event::InstanceRemoved {
            pool: self.name,
            instance: slot.name().cloned(),
            addr: slot.addr(),
            epoch: self.snapshot().epoch,
        });
    }

    /// The DNS name of its instances, if they are discovered by one.
    pub fn service_name(&self) -> Option<ServiceName> {
        self.lock().discovered.as_ref().map(|discovered| discovered.name().clone())
    }

    /// How its discovery goes, if its instances are discovered.
    pub fn discovery(&self) -> Option<Discovery> {
        self.lock().discovered.as_ref().map(|discovered| discovered.view(Instant::now()))
    }

    /// Takes the addresses that its DNS name has, and tells whether there are some that it did not know.
    pub fn found(&self, addrs: Vec<SocketAddr>, occasion: Occasion) -> bool {
        let Found { added, forgotten, turned } =
            self.change(|registry| registry.take_found(addrs, occasion, Instant::now()));
        if turned {
            tracing::info!(pool = %self.name, "discovery works again");
            self.events.publish(|| Event::DiscoveryChanged { pool: self.name, error: None });
        }
        for &addr in &added {
            tracing::info!(pool = %self.name, %addr, "instance discovered");
            self.events.publish(|| Event::InstanceAdded { pool: self.name, addr });
        }
        forgotten.iter().for_each(|slot| self.tell_removed(slot));
        !added.is_empty()
    }

    /// Takes that its DNS name could not be looked up, and why. The last good answer stands.
    pub fn not_found(&self, error: String) {
        if self.lock().take_no_answer(error.clone()) {
            tracing::warn!(pool = %self.name, error, "discovery fails: the instances that are known are kept");
            self.events.publish(|| Event::DiscoveryChanged { pool: self.name, error: Some(error) });
        }
    }

    /// Takes the result of a health check.
    pub fn record_probe(&self, addr: SocketAddr, result: Result<Report, ProbeError>) {
        let mut registry = self.lock();
        let changed = registry.record_probe(self.name, addr, result);
        let forgotten = registry.forget_absent();
        self.instances_changed(&registry, &changed);
        if registry.starts_slowly(Instant::now()) || !forgotten.is_empty() {
            self.snapshot.store(Arc::new(registry.snapshot(self.seed)));
            forgotten.iter().for_each(|slot| self.tell_removed(slot));
        }
        self.save(&registry);
        self.drain_progressed(&registry, addr, &changed);
    }

    /// Tells how a drain goes, until it is over.
    fn drain_progressed(&self, registry: &Registry, addr: SocketAddr, changed: &[SocketAddr]) {
        let Some(slot) = registry.slots().iter().find(|slot| slot.addr() == addr) else { return };
        let Some((instance, drain)) = slot.instance().zip(slot.drain(Instant::now())) else { return };
        if slot.state() == InstanceState::Drained && !changed.contains(&addr) {
            return;
        }
        self.events.publish(|| Event::DrainProgressed {
            pool: self.name,
            instance: instance.name().clone(),
            state: slot.state(),
            seconds_left: drain.seconds_left,
            in_flight: instance.in_flight(),
            streams: instance.streams(),
            live_sessions: slot.live_sessions(),
        });
    }

    /// Leaves out an instance that failed requests, unless too few would be left; tells whether it did.
    pub fn eject(&self, instance: &Arc<Instance>, reason: Reason, policy: Policy, now: Instant) -> bool {
        let mut registry = self.lock();
        let ejected = registry.eject(self.name, instance, reason, policy, now);
        if let Some(addr) = ejected {
            self.instances_changed(&registry, &[addr]);
        }
        ejected.is_some()
    }

    /// Routes by what the registry says now, and tells how the instances at these addresses are.
    fn instances_changed(&self, registry: &Registry, changed: &[SocketAddr]) {
        if changed.is_empty() {
            return;
        }
        let snapshot = registry.snapshot(self.seed);
        let epoch = snapshot.epoch;
        self.snapshot.store(Arc::new(snapshot));
        for slot in registry.slots().iter().filter(|slot| changed.contains(&slot.addr())) {
            self.events.publish(|| Event::InstanceChanged {
                pool: self.name,
                instance: slot.name().cloned(),
                addr: slot.addr(),
                state: slot.state(),
                epoch,
                detail: slot.last_error().map(str::to_owned),
            });
        }
    }

    /// Makes a change that must last: it is written before it is published. It is tried on a copy first,
    /// to know what to write, so it must have no effect but on the registry. Waits for the disk.
    fn change_durably<T, E>(&self, change: impl Fn(&mut Registry) -> Result<T, E>) -> Result<T, ChangeError<E>> {
        let _file = self.write_ahead(&change)?;
        // Health checks may have changed the registry meanwhile, so the copy cannot take its place.
        self.change(change).map_err(ChangeError::Refused)
    }

    /// Writes what a change would lead to. No other can begin before what is returned is dropped.
    fn write_ahead<T, E>(
        &self,
        change: &impl Fn(&mut Registry) -> Result<T, E>,
    ) -> Result<state_file::Change<'_>, ChangeError<E>> {
        let mut file = self.state_file.begin().map_err(ChangeError::NotSaved)?;
        let mut copy = self.lock().clone();
        change(&mut copy).map_err(ChangeError::Refused)?;
        file.write(self.name, copy.state()).map_err(ChangeError::NotSaved)?;
        Ok(file)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.lock();
        let outcome = change(&mut registry);
        self.snapshot.store(Arc::new(registry.snapshot(self.seed)));
        self.save(&registry);
        outcome
    }

    fn save(&self, registry: &Registry) {
        self.state_file.note(self.name, registry.state());
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic between two assignments leaves a registry that the next probe mends.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both pools.
#[derive(Debug)]
pub struct Pools {
    stateless: Arc<Pool>,
    stateful: Arc<Pool>,
}

impl Pools {
    /// The two pools, each made by `make`.
    pub fn new(mut make: impl FnMut(PoolName) -> Pool) -> Self {
        Self { stateless: Arc::new(make(PoolName::Stateless)), stateful: Arc::new(make(PoolName::Stateful)) }
    }

    /// The pool of that name.
    pub fn get(&self, name: PoolName) -> &Arc<Pool> {
        match name {
            PoolName::Stateless => &self.stateless,
            PoolName::Stateful => &self.stateful,
        }
    }

    /// Both, the stateless one first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        PoolName::ALL.into_iter().map(|name| self.get(name))
    }
}
