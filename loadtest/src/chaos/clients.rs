//! The clients. Each has its own sessions and shares one with others, so that several clients read
//! and write it concurrently.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::RngExt as _;

use crate::chaos::calls::{Caller, fresh_key};
use crate::chaos::ledger::{ClientNumber, IdUsed, Ledger, Message, Outcome, SessionNumber};
use crate::chaos::run::{Claim, OWN, OpenSession, Run, SHARERS, Slot, Turn};

/// Share of a client's acts, in per cent, that use its shared session.
const SHARED_PERCENT: u32 = 40;
/// A session with so many messages is replaced by a new one, so that reading its history stays
/// cheap.
const MESSAGES: u32 = 120;
/// How many ids of deleted and claimed sessions a client remembers and uses again, to check that
/// they stay gone.
const GONE: usize = 12;

/// The result of a client.
pub(crate) struct ClientResult {
    pub(crate) ledger: Ledger,
    /// The sessions that it created or claimed, once for each id.
    pub(crate) created: Vec<Arc<OpenSession>>,
    /// Its claims of unknown outcome.
    pub(crate) unknown_claims: Vec<Claim>,
}

/// One client.
pub(crate) struct ChaosClient {
    caller: Caller,
    own: usize,
    shared: usize,
    /// Counts its messages and its patches.
    sequence: u32,
    gone: VecDeque<Arc<OpenSession>>,
    created: Vec<Arc<OpenSession>>,
    unknown_claims: Vec<Claim>,
}

impl ChaosClient {
    pub(crate) fn new(number: ClientNumber, seed: u64, clients: u16, run: Arc<Run>) -> Self {
        let place = number as usize;
        Self {
            caller: Caller::new(number, seed, run),
            own: place * OWN,
            shared: usize::from(clients) * OWN + place / SHARERS,
            sequence: 0,
            gone: VecDeque::new(),
            created: Vec::new(),
            unknown_claims: Vec::new(),
        }
    }

    /// Sends requests until the run is stopped.
    pub(crate) async fn work(mut self) -> ClientResult {
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
        ClientResult {
            ledger: self.caller.ledger,
            created: self.created,
            unknown_claims: self.unknown_claims,
        }
    }

    /// The shared slot, unless another client is creating its session, or one of the client's own.
    fn choose_slot(&mut self) -> usize {
        let shared = self.caller.random.random_range(0..100) < SHARED_PERCENT;
        if shared && !matches!(self.caller.run.slots().get(self.shared), Some(Slot::Creating)) {
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
        if session.message_count.load(Ordering::Relaxed) >= MESSAGES {
            // Half of the sessions are kept for the final reads.
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
            960..985 => self.use_gone_session(session).await,
            985..995 if session.id_used == IdUsed::Original => self.claim_in(slot, session).await,
            _ if self.caller.run.leave(slot, session) => self.delete(session).await,
            _ => self.caller.read(session).await,
        }
    }

    async fn append(&mut self, session: &OpenSession) -> Outcome {
        session.message_count.fetch_add(1, Ordering::Relaxed);
        self.sequence += 1;
        let message = Message {
            session: session.number,
            client: self.caller.number,
            sequence: self.sequence,
        };
        self.caller.append(session, message).await
    }

    async fn delete(&mut self, session: &Arc<OpenSession>) -> Outcome {
        let outcome = self.caller.delete(session).await;
        self.forget(Arc::clone(session));
        outcome
    }

    /// Claims the session of a slot, which other clients may be using, and goes on with its new id.
    async fn claim_in(&mut self, slot: usize, session: &Arc<OpenSession>) -> Outcome {
        let (outcome, claimed) = self.claim(session).await;
        match claimed {
            Some(claimed) => self.caller.run.replace(slot, session, &claimed),
            None if outcome == Outcome::Unknown => drop(self.caller.run.leave(slot, session)),
            None => {}
        }
        outcome
    }

    async fn claim(&mut self, session: &Arc<OpenSession>) -> (Outcome, Option<Arc<OpenSession>>) {
        let Some(user) = self.caller.run.user_of(self.caller.number) else {
            return (self.caller.read(session).await, None);
        };
        let claim = Claim { session: Arc::clone(session), user, key: fresh_key() };
        let (outcome, claimed) = self.caller.claim(&claim).await;
        if let Some(claimed) = &claimed
            && self.created.iter().all(|known| known.id != claimed.id)
        {
            claim.user.count_claim();
            self.created.push(Arc::clone(claimed));
            // The old id must be gone for the new owner, too.
            let old = Arc::new(session.used_by(&claim.user));
            self.created.push(Arc::clone(&old));
            self.forget(old);
            self.forget(Arc::clone(session));
        }
        if outcome == Outcome::Unknown {
            self.unknown_claims.push(claim);
        }
        (outcome, claimed)
    }

    /// Uses this id from now on only to check that it is gone.
    fn forget(&mut self, session: Arc<OpenSession>) {
        self.gone.push_front(session);
        self.gone.truncate(GONE);
    }

    /// Uses an id that is or may be gone; without one, reads.
    async fn use_gone_session(&mut self, session: &OpenSession) -> Outcome {
        if self.gone.is_empty() {
            return self.caller.read(session).await;
        }
        let gone = self.caller.random.random_range(0..self.gone.len());
        let Some(gone) = self.gone.get(gone).cloned() else {
            return self.caller.read(session).await;
        };
        match self.caller.random.random_range(0..5) {
            0 => self.append(&gone).await,
            1 => self.caller.delete(&gone).await,
            2 => self.caller.history(&gone).await,
            3 if gone.id_used == IdUsed::Original => self.claim(&gone).await.0,
            _ => self.caller.read(&gone).await,
        }
    }
}
