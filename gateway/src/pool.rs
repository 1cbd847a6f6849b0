//! A pool: the instances of one service, their health, and the routing strategy.
//!
//! The data path reads a [`Snapshot`] without a lock. Health checks and the control API change the
//! [`Registry`] behind the pool's lock, which then publishes a new snapshot.

mod decisions;
mod discovered;
mod drain;
mod ejection;
mod health;
mod host;
pub mod identity;
mod instance;
mod last;
mod leases;
mod put_back;
mod registry;
mod report;
pub mod responses;
pub mod slow_start;
pub mod snapshot;
pub mod state_file;
mod weights;

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use proto_contracts::control::{Discovery, Event, InstanceState, Lasts, Strategy};
use proto_contracts::{PoolName, Weight};

pub use decisions::Undrain;
pub use discovered::LookupPhase;
pub use drain::PendingDrain;
pub use host::{Host, label};
pub use instance::{ClientHash, InFlight, Instance, Load, peer};
pub use last::LastInstance;
pub use registry::{AddError, ClosedLab, Registry, RemoveError};
pub use report::{ProbeError, Report, SessionUse};
pub use snapshot::{Member, Snapshot};
pub use weights::PendingWeight;

use crate::config::{self, Protocol, ServiceName, Thresholds};
use crate::events::Events;
use crate::pool::discovered::LookupChange;
use crate::pool::put_back::PutBackCounts;
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
    /// Locked because changes read what they change. They are rare, and never on the data path.
    registry: Mutex<Registry>,
    state_file: Arc<StateFile>,
    events: Events,
    put_back: PutBackCounts,
}

impl Pool {
    /// The pool as configured, with the saved changes of the control API.
    pub fn new(
        name: PoolName,
        config: &config::PoolConfig,
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
            put_back: PutBackCounts::default(),
        }
    }

    /// The pool's name.
    pub fn name(&self) -> PoolName {
        self.name
    }

    /// The current members and strategy.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The cursor of round robin.
    pub fn cursor(&self) -> &AtomicUsize {
        &self.cursor
    }

    /// The seed of its rendezvous hashes.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The load bound of sticky routing; `None`: off.
    pub fn load_bound(&self) -> Option<LoadBound> {
        self.load_bound.get()
    }

    /// The protocol to its instances.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether its requests have affinity keys: always in the stateful pool, so that sessions keep
    /// their homes over a change of strategy; in the stateless one only while it is sticky.
    pub fn tracks_keys(&self, strategy: Strategy) -> bool {
        self.name == PoolName::Stateful || strategy == Strategy::Sticky
    }

    /// Calls `look` with all known addresses, members or not, under the lock.
    pub fn hosts<T>(&self, look: impl FnOnce(&[Host]) -> T) -> T {
        look(self.lock().hosts())
    }

    /// Applies a reloaded configuration. Changes of the control API stay.
    pub fn reconfigure(&self, config: &config::PoolConfig, thresholds: Thresholds) {
        self.load_bound.set(config.load_bound);
        self.change(|registry| registry.reconfigure(config, thresholds));
    }

    /// Switches the strategy from the next request on.
    ///
    /// # Errors
    /// When it is one of a closed lab, or cannot be saved; then nothing has changed.
    pub fn set_strategy(&self, strategy: Strategy) -> Result<(), ChangeError<ClosedLab>> {
        self.change_durably(|registry| registry.set_strategy(strategy))?;
        tracing::info!(pool = %self.name, %strategy, "strategy switched");
        self.events.publish(|| Event::StrategyChanged { pool: self.name, strategy });
        Ok(())
    }

    /// Adds an address. It becomes a member once enough health checks pass; with a lease, until
    /// that ends.
    ///
    /// # Errors
    /// When the pool already has the address, or the change cannot be saved; then nothing has
    /// changed.
    pub fn add(
        &self,
        addr: SocketAddr,
        weight: Option<Weight>,
        lease: Option<Duration>,
    ) -> Result<(), ChangeError<AddError>> {
        let until = lease.map(|lease| Instant::now() + lease);
        self.change_durably(|registry| registry.add(addr, weight, until))?;
        tracing::info!(pool = %self.name, %addr, "instance added");
        self.events.publish(|| Event::InstanceAdded { pool: self.name, addr });
        Ok(())
    }

    /// Removes the instance with that name or address. Its requests in flight continue.
    ///
    /// # Errors
    /// When there is no such instance, when it is the last available one and `force` is not set, or
    /// when the change cannot be saved; then nothing has changed.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), ChangeError<RemoveError>> {
        let host = self.change_durably(|registry| registry.remove(self.name, name, force))?;
        self.publish_removed(&host);
        Ok(())
    }

    /// Removes an address that was just added, at once; it is saved in the background.
    pub fn take_back(&self, addr: SocketAddr) {
        if let Ok(host) =
            self.change(|registry| registry.remove(self.name, &addr.to_string(), true))
        {
            self.publish_removed(&host);
        }
    }

    /// Whether changes survive a restart.
    pub fn changes_last(&self) -> Lasts {
        self.state_file.lasts()
    }

    fn publish_removed(&self, host: &Host) {
        let instance = label(host.name(), host.addr());
        tracing::info!(pool = %self.name, instance, addr = %host.addr(), "instance removed");
        self.events.publish(|| Event::InstanceRemoved {
            pool: self.name,
            instance: host.name().cloned(),
            addr: host.addr(),
            epoch: self.snapshot().epoch,
        });
    }

    /// The DNS name for discovery, if any.
    pub fn service_name(&self) -> Option<ServiceName> {
        self.lock().discovered.as_ref().map(|discovered| discovered.name().clone())
    }

    /// The state of discovery, if any.
    pub fn discovery(&self) -> Option<Discovery> {
        self.lock().discovered.as_ref().map(|discovered| discovered.view(Instant::now()))
    }

    /// Applies the addresses of a DNS lookup. Returns whether some are new.
    pub fn lookup_succeeded(&self, addrs: Vec<SocketAddr>, phase: LookupPhase) -> bool {
        let LookupChange { added, forgotten, recovered } =
            self.change(|registry| registry.apply_lookup(addrs, phase, Instant::now()));
        if recovered {
            tracing::info!(pool = %self.name, "discovery recovered");
            self.events.publish(|| Event::DiscoveryChanged { pool: self.name, error: None });
        }
        for &addr in &added {
            tracing::info!(pool = %self.name, %addr, "instance discovered");
            self.events.publish(|| Event::InstanceAdded { pool: self.name, addr });
        }
        forgotten.iter().for_each(|host| self.publish_removed(host));
        !added.is_empty()
    }

    /// Records a failed DNS lookup; the known addresses stay.
    pub fn lookup_failed(&self, error: String) {
        if self.lock().record_lookup_failure(error.clone()) {
            tracing::warn!(
                pool = %self.name,
                error,
                "discovery failed: keeping the known instances"
            );
            self.events.publish(|| Event::DiscoveryChanged { pool: self.name, error: Some(error) });
        }
    }

    /// Applies the result of a health check.
    pub fn record_probe(&self, addr: SocketAddr, result: Result<Report, ProbeError>) {
        let mut registry = self.lock();
        let changed = registry.record_probe(self.name, addr, result);
        let forgotten = registry.forget_absent();
        self.publish_changed(&registry, &changed);
        if registry.starts_slowly(Instant::now()) || !forgotten.is_empty() {
            self.snapshot.store(Arc::new(registry.snapshot(self.seed)));
            forgotten.iter().for_each(|host| self.publish_removed(host));
        }
        self.save(&registry);
        self.publish_drain(&registry, addr, &changed);
    }

    /// Publishes the progress of a drain until it is over.
    fn publish_drain(&self, registry: &Registry, addr: SocketAddr, changed: &[SocketAddr]) {
        let Some(host) = registry.hosts().iter().find(|host| host.addr() == addr) else { return };
        let Some((instance, drain)) = host.instance().zip(host.drain(Instant::now())) else {
            return;
        };
        if host.state() == InstanceState::Drained && !changed.contains(&addr) {
            return;
        }
        self.events.publish(|| Event::DrainProgressed {
            pool: self.name,
            instance: instance.name().clone(),
            state: host.state(),
            seconds_left: drain.seconds_left,
            in_flight: instance.in_flight(),
            streams: instance.streams(),
            live_sessions: host.live_sessions(),
        });
    }

    /// Ejects an instance that failed requests, within the policy. Returns whether it was ejected.
    pub fn eject(
        &self,
        instance: &Arc<Instance>,
        reason: Reason,
        policy: Policy,
        now: Instant,
    ) -> bool {
        let mut registry = self.lock();
        let ejected = registry.eject(self.name, instance, reason, policy, now);
        if let Some(addr) = ejected {
            self.publish_changed(&registry, &[addr]);
        }
        ejected.is_some()
    }

    /// Publishes a new snapshot, and events for the instances at these addresses.
    fn publish_changed(&self, registry: &Registry, changed: &[SocketAddr]) {
        if changed.is_empty() {
            return;
        }
        let snapshot = registry.snapshot(self.seed);
        let epoch = snapshot.epoch;
        self.snapshot.store(Arc::new(snapshot));
        for host in registry.hosts().iter().filter(|host| changed.contains(&host.addr())) {
            self.events.publish(|| Event::InstanceChanged {
                pool: self.name,
                instance: host.name().cloned(),
                addr: host.addr(),
                state: host.state(),
                epoch,
                detail: host.last_error().map(str::to_owned),
            });
        }
    }

    /// Saves a change before it applies. It runs on a copy first, so it must affect only the
    /// registry. Blocks on the disk.
    fn change_durably<T, E>(
        &self,
        change: impl Fn(&mut Registry) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let _file = self.write_ahead(&change)?;
        // Health checks may have changed the registry meanwhile, so the change runs again on it.
        self.change(change).map_err(ChangeError::Refused)
    }

    /// Saves the result of a change. The returned guard blocks other changes.
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
        // After a panic the next health check repairs the registry.
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
    /// The two pools, each from `make`.
    pub fn new(mut make: impl FnMut(PoolName) -> Pool) -> Self {
        Self {
            stateless: Arc::new(make(PoolName::Stateless)),
            stateful: Arc::new(make(PoolName::Stateful)),
        }
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
