//! The clients. Each has its own sessions and shares one with others, so that several clients read
//! and write it concurrently.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::RngExt as _;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{ClientNumber, Ledger, Message, Outcome, SessionNumber};
use crate::chaos::run::{OWN, OpenSession, Run, SHARERS, Slot, Turn};

/// Share of a client's acts, in per cent, that use its shared session.
const SHARED_PERCENT: u32 = 40;
/// A session with so many messages is replaced by a new one, so that reading its history stays
/// cheap.
const MESSAGES: u32 = 120;
/// How many deleted sessions a client remembers and uses again, to check that they stay deleted.
const DELETED: usize = 8;

/// The result of a client.
pub(crate) struct ClientResult {
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
    deleted: VecDeque<Arc<OpenSession>>,
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
            deleted: VecDeque::new(),
            created: Vec::new(),
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
        ClientResult { ledger: self.caller.ledger, created: self.created }
    }

    /// The shared slot, unless another client is creating its session, or one of the client's own.
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
            960..995 => self.use_deleted_session(session).await,
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
        self.deleted.push_front(Arc::clone(session));
        self.deleted.truncate(DELETED);
        outcome
    }

    /// Reads, writes or deletes a session that is or may be deleted; without one, reads.
    async fn use_deleted_session(&mut self, session: &OpenSession) -> Outcome {
        if self.deleted.is_empty() {
            return self.caller.read(session).await;
        }
        let session_deleted = self.caller.random.random_range(0..self.deleted.len());
        let Some(session_deleted) = self.deleted.get(session_deleted).cloned() else {
            return self.caller.read(session).await;
        };
        match self.caller.random.random_range(0..4) {
            0 => self.append(&session_deleted).await,
            1 => self.caller.delete(&session_deleted).await,
            2 => self.caller.history(&session_deleted).await,
            _ => self.caller.read(&session_deleted).await,
        }
    }
}
