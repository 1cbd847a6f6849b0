//! Sessions in this instance's memory: Phase 1's way. A restart loses them, and no other instance knows them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use jiff::Timestamp;
use proto_contracts::SessionDigest;
use proto_contracts::stateful::MAX_MESSAGES;

use super::{AppendError, CreateError, DeleteError, PatchError, ReadError, Served, SessionStore, Source};
use crate::domain::client_data::{ClientData, MergePatch};
use crate::domain::clock::Clock;
use crate::domain::conversation::{self, Earlier, Quote, Utterance};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::lifetime::Lifetime;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::Session;

/// How often expired sessions are looked for that nobody asks for any more.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Sessions in memory.
pub struct MemoryStore<C> {
    // Each shard has a lock of its own. It is held for one act on one session, and never across an await.
    sessions: DashMap<SessionDigest, Record>,
    lifetime: Lifetime,
    clock: C,
}

impl<C: Clock> MemoryStore<C> {
    /// An empty store.
    pub fn new(lifetime: Lifetime, clock: C) -> Self {
        Self { sessions: DashMap::new(), lifetime, clock }
    }

    /// Forgets the sessions that have expired.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.sessions.retain(|_, record| record.expires_at > now);
    }

    /// Sweeps for as long as anybody uses the store. The future holds no share in it.
    pub fn sweeping(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<C> {
        let store = Arc::downgrade(self);
        async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(store) = store.upgrade() else { return };
                store.sweep();
            }
        }
    }

    /// Does one act on a session that lives, and starts its idle time anew; `None` when there is none.
    fn with<T>(&self, session: SessionDigest, act: impl FnOnce(&mut Record, Timestamp) -> T) -> Option<T> {
        let mut record = self.sessions.get_mut(&session)?;
        let now = self.clock.now();
        if record.expires_at <= now {
            drop(record);
            self.sessions.remove_if(&session, |_, record| record.expires_at <= now);
            return None;
        }
        record.expires_at = self.lifetime.expires_at(record.created_at, now);
        Some(act(&mut record, now))
    }
}

#[async_trait]
impl<C: Clock> SessionStore for MemoryStore<C> {
    async fn create(&self, session: SessionDigest, client_data: ClientData) -> Result<Served<Session>, CreateError> {
        let now = self.clock.now();
        let record = Record {
            client_data,
            created_at: now,
            last_activity: now,
            expires_at: self.lifetime.expires_at(now, now),
            version: 1,
            utterances: Vec::new(),
        };
        let created = record.session();
        match self.sessions.entry(session) {
            Entry::Occupied(other) if other.get().expires_at > now => return Err(CreateError::Exists),
            Entry::Occupied(mut expired) => drop(expired.insert(record)),
            Entry::Vacant(place) => drop(place.insert(record)),
        }
        Ok(Served { value: created, source: Source::Created })
    }

    async fn read(&self, session: SessionDigest) -> Result<Served<Session>, ReadError> {
        self.with(session, |record, _| from_memory(record.session())).ok_or(ReadError::NotFound)
    }

    async fn append(&self, session: SessionDigest, message: NewMessage) -> Result<Served<Appended>, AppendError> {
        let append = |record: &mut Record, now| match record.message_count() {
            0..MAX_MESSAGES => Ok(from_memory(record.append(message, now))),
            _ => Err(AppendError::Full),
        };
        self.with(session, append).ok_or(AppendError::NotFound)?
    }

    async fn patch(&self, session: SessionDigest, patch: &MergePatch) -> Result<Served<Session>, PatchError> {
        let patch = |record: &mut Record, now| {
            record.client_data = record.client_data.merged(patch)?;
            record.written(now);
            Ok(from_memory(record.session()))
        };
        self.with(session, patch).ok_or(PatchError::NotFound)?
    }

    async fn delete(&self, session: SessionDigest) -> Result<Served<()>, DeleteError> {
        match self.sessions.remove(&session) {
            Some((_, record)) if record.expires_at > self.clock.now() => Ok(from_memory(())),
            _ => Err(DeleteError::NotFound),
        }
    }

    async fn history(
        &self,
        session: SessionDigest,
        after: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        self.with(session, |record, _| from_memory(record.page(after, size))).ok_or(ReadError::NotFound)
    }

    fn live_sessions(&self) -> u64 {
        self.sessions.len() as u64
    }
}

fn from_memory<T>(value: T) -> Served<T> {
    Served { value, source: Source::Memory }
}

struct Record {
    client_data: ClientData,
    created_at: Timestamp,
    last_activity: Timestamp,
    expires_at: Timestamp,
    version: u64,
    utterances: Vec<Utterance>,
}

impl Record {
    fn session(&self) -> Session {
        Session {
            client_data: self.client_data.clone(),
            created_at: self.created_at,
            last_activity: self.last_activity,
            expires_at: self.expires_at,
            message_count: self.message_count(),
            version: self.version,
        }
    }

    fn message_count(&self) -> u64 {
        self.utterances.len() as u64
    }

    fn written(&mut self, now: Timestamp) {
        self.last_activity = now;
        self.version += 1;
    }

    fn append(&mut self, message: NewMessage, now: Timestamp) -> Appended {
        let name = self.client_data.name();
        let utterance = Utterance { id: message.id, text: message.text, name, created_at: now };
        let (first, previous) = (self.utterances.first().map(quote), self.utterances.last().map(quote));
        let earlier = first.as_ref().zip(previous.as_ref()).map(|(first, previous)| Earlier { first, previous });
        self.utterances.push(utterance.clone());
        self.written(now);
        Appended { message: utterance.answered(self.message_count(), earlier), version: self.version }
    }

    fn page(&self, after: Cursor, size: PageSize) -> HistoryPage {
        let start = usize::try_from(after.number()).unwrap_or(usize::MAX).min(self.utterances.len());
        let (before, rest) = self.utterances.split_at(start);
        let page = rest.iter().take(size.messages() as usize).cloned();
        let messages = match self.utterances.first().map(quote) {
            Some(first) => conversation::replay(&first, before.last().map(quote), after.number() + 1, page),
            None => Vec::new(),
        };
        HistoryPage { messages, message_count: self.message_count() }
    }
}

fn quote(utterance: &Utterance) -> Quote {
    Quote::of(utterance.text.as_str())
}
