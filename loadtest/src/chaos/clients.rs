//! The clients: each has sessions of its own and shares one with others, so that several write to and read from it at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::RngExt as _;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{ClientNumber, Ledger, Message, Outcome, SessionNumber};
use crate::chaos::run::{OWN, OpenSession, Run, SHARERS, Slot, Turn};

/// How often, in per cent, a client turns to the session that it shares.
const SHARED_PERCENT: u32 = 40;
/// A session that holds so many messages is left for a new one, so that reading its history stays cheap.
const MESSAGES: u32 = 120;
/// Deleted sessions that a client comes back to, to see whether they stay deleted.
const GRAVES: usize = 8;

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
