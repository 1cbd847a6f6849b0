//! The state that the clients of a run share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::HeaderValue;
use proto_contracts::SessionId;
use tokio::sync::watch;

use crate::chaos::ledger::{ClientNumber, IdUsed, Moment, SessionNumber};
use crate::chaos::users::User;
use crate::client::ScenarioRequest;
use crate::target::Target;

/// Sessions of each client that it does not share.
pub(super) const OWN: usize = 2;
/// Clients that share a session.
pub(super) const SHARERS: usize = 3;

/// Whether writes of unknown outcome are repeated under their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    UnderTheirKey,
    Never,
}

/// What the clients of a run share.
pub(crate) struct Run {
    start: Instant,
    pub(crate) target: Arc<Target>,
    pub(crate) timeout: Duration,
    pub(crate) repeats: Repeats,
    /// Whether a repeated create may carry another affinity key. Not with the memory store, where
    /// only the home holds a session.
    pub(crate) varies_affinity_key: bool,
    /// Who claims sessions.
    users: Vec<Arc<User>>,
    pub(super) stopped: AtomicBool,
    /// Whether each acknowledged write is sent again, instead of a sample.
    repeats_each: AtomicBool,
    interrupted: watch::Sender<bool>,
    sessions: AtomicU32,
    clients: AtomicU32,
    /// A second gateway, which gets half of the requests while it is set. Never held across an
    /// await.
    second: RwLock<Option<Arc<Target>>>,
    /// Never held across an await.
    slots: Mutex<Vec<Slot>>,
}

/// A slot for a session in use.
pub(super) enum Slot {
    Free,
    /// A client is creating one.
    Creating,
    Open(Arc<OpenSession>),
}

/// A session by one of its ids.
pub(crate) struct OpenSession {
    pub(crate) number: SessionNumber,
    pub(crate) id: SessionId,
    pub(crate) id_used: IdUsed,
    /// Whose token its requests carry.
    pub(super) user: Option<Arc<User>>,
    /// How many messages were sent, acknowledged or not, under both ids.
    pub(super) message_count: Arc<AtomicU32>,
}

impl OpenSession {
    /// One that was created without a token.
    pub(crate) fn new(number: SessionNumber, id: SessionId) -> Self {
        let message_count = Arc::default();
        Self { number, id, id_used: IdUsed::Original, user: None, message_count }
    }

    /// Its new id from a claim by this user.
    pub(crate) fn claimed(&self, id: SessionId, user: &Arc<User>) -> Self {
        Self { id, id_used: IdUsed::Claimed, ..self.used_by(user) }
    }

    /// The same id, used with this user's token.
    pub(crate) fn used_by(&self, user: &Arc<User>) -> Self {
        Self {
            number: self.number,
            id: self.id.clone(),
            id_used: self.id_used,
            user: Some(Arc::clone(user)),
            message_count: Arc::clone(&self.message_count),
        }
    }

    /// Adds the user's token to a request on this session.
    pub(super) fn authorized(&self, mut request: ScenarioRequest) -> ScenarioRequest {
        if let Some(user) = &self.user {
            user.authorize(&mut request);
        }
        request
    }
}

/// A claim, with what its repetition needs.
pub(crate) struct Claim {
    pub(crate) session: Arc<OpenSession>,
    pub(crate) user: Arc<User>,
    /// Its `Idempotency-Key`.
    pub(crate) key: HeaderValue,
}

impl Run {
    pub(crate) fn new(
        target: Arc<Target>,
        timeout: Duration,
        repeats: Repeats,
        varies_affinity_key: bool,
        clients: u16,
        users: Vec<Arc<User>>,
    ) -> Arc<Self> {
        let slots = usize::from(clients) * OWN + usize::from(clients).div_ceil(SHARERS);
        Arc::new(Self {
            start: Instant::now(),
            target,
            timeout,
            repeats,
            varies_affinity_key,
            users,
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

    /// Makes every client stop after its current act.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Sets whether each acknowledged write is sent again, or a sample.
    pub(crate) fn repeat_each_write(&self, each: bool) {
        self.repeats_each.store(each, Ordering::Relaxed);
    }

    pub(crate) fn repeats_each_write(&self) -> bool {
        self.repeats_each.load(Ordering::Relaxed)
    }

    /// Ends the run early, and every [pause](Self::pause) at once.
    pub(crate) fn interrupt(&self) {
        self.interrupted.send_replace(true);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }

    /// Waits for so long, or until the run is interrupted.
    pub(crate) async fn pause(&self, time: Duration) {
        let mut interrupted = self.interrupted.subscribe();
        // Both outcomes end the pause; the sender lives as long as `self`.
        let _elapsed =
            tokio::time::timeout(time, interrupted.wait_for(|interrupted| *interrupted)).await;
    }

    /// The user for whom a client claims sessions; `None` once that user has about as many as it
    /// may have.
    pub(crate) fn user_of(&self, client: ClientNumber) -> Option<Arc<User>> {
        let number = (client as usize).checked_rem(self.users.len())?;
        self.users.get(number).filter(|user| user.may_claim()).cloned()
    }

    /// A number for one more client.
    pub(crate) fn next_client(&self) -> ClientNumber {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends half of the requests to a second gateway from now on; `None`: all to the first.
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

    pub(super) fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, slot: usize, session: Slot) {
        if let Some(place) = self.slots().get_mut(slot) {
            *place = session;
        }
    }

    /// Frees the slot if it still holds this session; `true` if this call freed it.
    pub(super) fn leave(&self, slot: usize, session: &OpenSession) -> bool {
        let mut slots = self.slots();
        match slots.get_mut(slot) {
            Some(place) if matches!(&*place, Slot::Open(held) if held.id == session.id) => {
                *place = Slot::Free;
                true
            }
            _ => false,
        }
    }

    /// Goes on with the session's new id, if the slot still holds the old one.
    pub(super) fn replace(&self, slot: usize, old: &OpenSession, new: &Arc<OpenSession>) {
        let mut slots = self.slots();
        if let Some(place) = slots.get_mut(slot)
            && matches!(&*place, Slot::Open(held) if held.id == old.id)
        {
            *place = Slot::Open(Arc::clone(new));
        }
    }

    /// What a client does next in a slot.
    pub(super) fn turn(&self, slot: usize) -> Turn {
        let mut slots = self.slots();
        match slots.get_mut(slot) {
            Some(place @ Slot::Free) => {
                *place = Slot::Creating;
                Turn::Create(self.sessions.fetch_add(1, Ordering::Relaxed))
            }
            Some(Slot::Open(session)) => Turn::Use(Arc::clone(session)),
            Some(Slot::Creating) | None => Turn::Wait,
        }
    }
}

pub(super) enum Turn {
    Create(SessionNumber),
    Use(Arc<OpenSession>),
    Wait,
}
