//! The clients: each has sessions of its own and shares one with others, so that several write to and read from it at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use proto_contracts::SessionId;
use rand::RngExt as _;
use tokio::sync::watch;

use crate::chaos::calls::{Caller, Repeats};
use crate::chaos::ledger::{ClientNumber, Ledger, Message, Moment, Outcome, SessionNumber};
use crate::target::Target;

/// Sessions that a client has for itself.
const OWN: usize = 2;
/// Clients that share a session.
const SHARERS: usize = 3;
/// How often, in per cent, a client turns to the session that it shares.
const SHARED_PERCENT: u32 = 40;
/// A session that holds so many messages is left for a new one, so that reading its history stays cheap.
const MESSAGES: u32 = 120;
/// Deleted sessions that a client comes back to, to see whether they stay deleted.
const GRAVES: usize = 8;

/// What the clients of a run share.
pub(crate) struct Run {
    start: Instant,
    pub(crate) target: Arc<Target>,
    pub(crate) timeout: Duration,
    pub(crate) repeats: Repeats,
    /// Whether a repeated create may come with another affinity key: not where only its home knows a session.
    pub(crate) strays: bool,
    stopped: AtomicBool,
    /// Each acknowledged write is sent again, and not only some.
    repeats_each: AtomicBool,
    interrupted: watch::Sender<bool>,
    sessions: AtomicU32,
    clients: AtomicU32,
    /// A second gateway, which takes half of the requests while it is there. Never held across an await.
    second: RwLock<Option<Arc<Target>>>,
    /// Never held across an await.
    slots: Mutex<Vec<Slot>>,
}

/// A place for a session that is in use.
enum Slot {
    Free,
    /// Somebody is creating one.
    Claimed,
    Open(Arc<OpenSession>),
}

/// A session that was created.
pub(crate) struct OpenSession {
    pub(crate) number: SessionNumber,
    pub(crate) id: SessionId,
    /// Messages that were tried.
    said: AtomicU32,
}

impl OpenSession {
    pub(crate) fn new(number: SessionNumber, id: SessionId) -> Self {
        Self { number, id, said: AtomicU32::new(0) }
    }
}

impl Run {
    pub(crate) fn new(
        target: Arc<Target>,
        timeout: Duration,
        repeats: Repeats,
        strays: bool,
        clients: u16,
    ) -> Arc<Self> {
        let slots = usize::from(clients) * OWN + usize::from(clients).div_ceil(SHARERS);
        Arc::new(Self {
            start: Instant::now(),
            target,
            timeout,
            repeats,
            strays,
            stopped: AtomicBool::new(false),
            repeats_each: AtomicBool::new(false),
            interrupted: watch::Sender::new(false),
            sessions: AtomicU32::new(0),
            clients: AtomicU32::new(clients.into()),
            second: RwLock::default(),
            slots: Mutex::new((0..slots).map(|_| Slot::Free).collect()),
        })
    }

    /// Time since the run began.
    pub(crate) fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// Has every client end when it has done what it is about.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Has each acknowledged write sent again from now on, or some of them only.
    pub(crate) fn repeat_each_write(&self, each: bool) {
        self.repeats_each.store(each, Ordering::Relaxed);
    }

    pub(crate) fn repeats_each_write(&self) -> bool {
        self.repeats_each.load(Ordering::Relaxed)
    }

    /// Has the run end early, and whoever [pauses](Self::pause) go on at once.
    pub(crate) fn interrupt(&self) {
        self.interrupted.send_replace(true);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }

    /// Waits for so long, or until the run is interrupted.
    pub(crate) async fn pause(&self, time: Duration) {
        let mut interrupted = self.interrupted.subscribe();
        // Either is a reason to go on; the sender lives as long as this.
        let _elapsed = tokio::time::timeout(time, interrupted.wait_for(|interrupted| *interrupted)).await;
    }

    /// A number that no client has.
    pub(crate) fn next_client(&self) -> ClientNumber {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends half of the requests to a second gateway from now on, or to none but the first.
    pub(crate) fn set_second(&self, second: Option<Arc<Target>>) {
        *self.second.write().unwrap_or_else(PoisonError::into_inner) = second;
    }

    pub(crate) fn second(&self) -> Option<Arc<Target>> {
        self.second.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many slots there are.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots().len()
    }

    /// The session that is open in a slot.
    pub(crate) fn session_in(&self, slot: usize) -> Option<Arc<OpenSession>> {
        match self.slots().get(slot) {
            Some(Slot::Open(session)) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, slot: usize, session: Slot) {
        if let Some(place) = self.slots().get_mut(slot) {
            *place = session;
        }
    }

    /// Frees the slot if it still holds this session; whoever does so may delete it.
    fn leave(&self, slot: usize, session: &OpenSession) -> bool {
        let mut slots = self.slots();
        match slots.get_mut(slot) {
            Some(place) if matches!(&*place, Slot::Open(held) if held.number == session.number) => {
                *place = Slot::Free;
                true
            }
            _ => false,
        }
    }

    /// What there is to do in a slot.
    fn turn(&self, slot: usize) -> Turn {
        let mut slots = self.slots();
        match slots.get_mut(slot) {
            Some(place @ Slot::Free) => {
                *place = Slot::Claimed;
                Turn::Create(self.sessions.fetch_add(1, Ordering::Relaxed))
            }
            Some(Slot::Open(session)) => Turn::Use(Arc::clone(session)),
            Some(Slot::Claimed) | None => Turn::Wait,
        }
    }
}

enum Turn {
    Create(SessionNumber),
    Use(Arc<OpenSession>),
    Wait,
}

/// What a client leaves behind.
pub(crate) struct Estate {
    pub(crate) ledger: Ledger,
    /// The sessions that it created.
    pub(crate) created: Vec<Arc<OpenSession>>,
}

/// One client.
pub(crate) struct ChaosClient {
    caller: Caller,
    own: usize,
    shared: usize,
    /// Counts its messages and its patches.
    sequence: u32,
    graves: VecDeque<Arc<OpenSession>>,
    created: Vec<Arc<OpenSession>>,
}

impl ChaosClient {
    pub(crate) fn new(number: ClientNumber, seed: u64, clients: u16, run: Arc<Run>) -> Self {
        let place = number as usize;
        Self {
            caller: Caller::new(number, seed, run),
            own: place * OWN,
            shared: usize::from(clients) * OWN + place / SHARERS,
            sequence: 0,
            graves: VecDeque::new(),
            created: Vec::new(),
        }
    }

    /// Works until the run is stopped.
    pub(crate) async fn work(mut self) -> Estate {
        while !self.caller.run.stopped.load(Ordering::Relaxed) {
            let slot = self.choose_slot();
            let outcome = match self.caller.run.turn(slot) {
                Turn::Wait => Outcome::Refused,
                Turn::Create(number) => self.create(slot, number).await,
                Turn::Use(session) => self.act(slot, &session).await,
            };
            if matches!(outcome, Outcome::Refused | Outcome::Unknown) {
                self.caller.back_off().await;
            }
        }
        Estate { ledger: self.caller.ledger, created: self.created }
    }

    /// The shared slot, unless somebody is creating its session, or one of the own ones.
    fn choose_slot(&mut self) -> usize {
        let shared = self.caller.random.random_range(0..100) < SHARED_PERCENT;
        if shared && !matches!(self.caller.run.slots().get(self.shared), Some(Slot::Claimed)) {
            return self.shared;
        }
        self.own + self.caller.random.random_range(0..OWN)
    }

    async fn create(&mut self, slot: usize, number: SessionNumber) -> Outcome {
        let (outcome, session) = self.caller.create(number).await;
        let open = session.map_or(Slot::Free, |session| {
            self.created.push(Arc::clone(&session));
            Slot::Open(session)
        });
        self.caller.run.set(slot, open);
        outcome
    }

    async fn act(&mut self, slot: usize, session: &Arc<OpenSession>) -> Outcome {
        if session.said.load(Ordering::Relaxed) >= MESSAGES {
            // Half of the sessions stay, to be read in the end.
            if self.caller.run.leave(slot, session) && self.caller.random.random_range(0..2) == 0 {
                return self.delete(session).await;
            }
            return self.caller.read(session).await;
        }
        match self.caller.random.random_range(0..1000) {
            0..480 => self.append(session).await,
            480..730 => self.caller.read(session).await,
            730..830 => {
                self.sequence += 1;
                self.caller.patch(session, self.sequence).await
            }
            830..960 => self.caller.history(session).await,
            960..995 => self.visit_grave(session).await,
            _ if self.caller.run.leave(slot, session) => self.delete(session).await,
            _ => self.caller.read(session).await,
        }
    }

    async fn append(&mut self, session: &OpenSession) -> Outcome {
        session.said.fetch_add(1, Ordering::Relaxed);
        self.sequence += 1;
        let message = Message { session: session.number, client: self.caller.number, sequence: self.sequence };
        self.caller.append(session, message).await
    }

    async fn delete(&mut self, session: &Arc<OpenSession>) -> Outcome {
        let outcome = self.caller.delete(session).await;
        self.graves.push_front(Arc::clone(session));
        self.graves.truncate(GRAVES);
        outcome
    }

    /// Reads, writes to or deletes again a session that is deleted, or may be; without one, reads.
    async fn visit_grave(&mut self, session: &OpenSession) -> Outcome {
        if self.graves.is_empty() {
            return self.caller.read(session).await;
        }
        let grave = self.caller.random.random_range(0..self.graves.len());
        let Some(grave) = self.graves.get(grave).cloned() else { return self.caller.read(session).await };
        match self.caller.random.random_range(0..4) {
            0 => self.append(&grave).await,
            1 => self.caller.delete(&grave).await,
            2 => self.caller.history(&grave).await,
            _ => self.caller.read(&grave).await,
        }
    }
}
