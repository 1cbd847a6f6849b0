//! Sessions in this instance's memory, as in the legacy service. A restart loses them, and no other
//! instance has them.

mod adopt;
mod owned;
mod record;
mod revocations;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use jiff::{SignedDuration, Timestamp};
use proto_contracts::SessionDigest;
use proto_contracts::stateful::MAX_MESSAGES;

use super::{
    Access, AdoptError, Adopted, Adoption, AppendError, CreateError, DeleteError, PatchError,
    ReadError, Served, SessionStore, Source, StoreFault, WriteOutcome, Written,
};
use crate::domain::caller::Caller;
use crate::domain::client_data::MergePatch;
use crate::domain::clock::Clock;
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::lifetime::Lifetime;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::owned::{OwnedEntry, OwnedSession};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::Expected;
use crate::domain::tickets::TicketUse;
use crate::store::changes::{Changes, Watchers};
use crate::store::memory::owned::OwnedIndex;
use crate::store::memory::record::{Kept, Record};
use crate::store::memory::revocations::{Revocations, Revoked};

/// How often expired entries are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// From this age on, the entry of a session that does not exist is removed from its owner's index.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Sessions in memory.
pub struct MemoryStore<C> {
    // Each shard has a lock of its own, which is held for one operation on one session and never
    // across an await.
    sessions: DashMap<SessionDigest, Record>,
    // Written under the lock of the session's shard, so that a create sees either the session or
    // its tombstone.
    tombstones: DashMap<SessionDigest, Tombstone>,
    /// The expiry of each ticket's use.
    tickets: DashMap<TicketUse, Timestamp>,
    reservations: DashMap<ShortDigest, Reservation>,
    owned: OwnedIndex,
    // So that a repetition finds either the old session or the new one.
    adopting: Mutex<()>,
    revocations: Revocations,
    watchers: Arc<Watchers>,
    lifetime: Lifetime,
    clock: C,
}

impl<C: Clock> MemoryStore<C> {
    /// An empty store.
    pub fn new(lifetime: Lifetime, clock: C) -> Self {
        Self {
            sessions: DashMap::new(),
            tombstones: DashMap::new(),
            tickets: DashMap::new(),
            reservations: DashMap::new(),
            owned: OwnedIndex::default(),
            adopting: Mutex::new(()),
            revocations: Revocations::default(),
            watchers: Watchers::new(|_| {}),
            lifetime,
            clock,
        }
    }

    /// Removes expired sessions, tombstones, tickets and reservations.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.sessions.retain(|_, record| record.expires_at > now);
        self.tombstones.retain(|_, tombstone| tombstone.expires_at > now);
        self.tickets.retain(|_, ends| *ends > now);
        self.reservations.retain(|_, reservation| reservation.expires_at > now);
        self.owned.owners().into_iter().for_each(|owner| self.remove_ended(owner, now));
        self.owned.remove_empty();
        self.revocations.remove_before(now, self.lifetime);
    }

    /// Sweeps periodically until the store is dropped, which the future does not prevent.
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

    /// Performs an operation on a live session that the caller may use, and resets its idle time;
    /// `None` when there is no such session. A revoked token is an error.
    fn with<T>(
        &self,
        access: Access,
        operation: impl FnOnce(&mut Record, Timestamp) -> T,
    ) -> Result<Option<T>, Revoked> {
        let Access { session, caller, .. } = access;
        let Some(mut record) = self.sessions.get_mut(&session) else { return Ok(None) };
        let now = self.clock.now();
        if record.expires_at <= now {
            drop(record);
            self.sessions.remove_if(&session, |_, record| record.expires_at <= now);
            return Ok(None);
        }
        if !caller.may_use(record.owner) {
            return Ok(None);
        }
        self.revocations.check(record.owner, access)?;
        record.expires_at = self.lifetime.expires_at(record.created_at, now);
        Ok(Some(operation(&mut record, now)))
    }

    /// Notifies watchers unless the write was a repetition, and returns its outcome.
    fn notify<T, E>(
        &self,
        session: SessionDigest,
        outcome: Result<Written<T>, E>,
    ) -> Result<Written<T>, E> {
        if outcome.as_ref().is_ok_and(|written| written.outcome == WriteOutcome::Applied) {
            self.watchers.notify(session);
        }
        outcome
    }

    /// Adds a session to the index of its owner's sessions; `false` when the owner has the maximum
    /// number of live sessions.
    fn add_owned(&self, owner: ShortDigest, access: Access, now: Timestamp) -> bool {
        self.owned.add(owner, access, now) || {
            self.remove_ended(owner, now);
            self.owned.add(owner, access, now)
        }
    }

    /// Removes the entries of ended sessions from the index of the owner's sessions.
    fn remove_ended(&self, owner: ShortDigest, now: Timestamp) {
        for entry in self.owned.entries(owner) {
            // A create adds the entry before the session.
            let is_settled = now.duration_since(entry.added_at) > SETTLED_AFTER;
            if is_settled && self.look_at(owner, entry, now).is_none() {
                self.owned.remove(owner, entry.session);
            }
        }
    }

    fn look_at(
        &self,
        owner: ShortDigest,
        entry: OwnedEntry,
        now: Timestamp,
    ) -> Option<OwnedSession> {
        let record = self.sessions.get(&entry.session)?;
        if record.owner != Caller::Subject(owner) || record.expires_at <= now {
            return None;
        }
        Some(OwnedSession {
            entry,
            created_at: record.created_at,
            last_activity: record.last_activity,
            expires_at: record.expires_at,
            message_count: record.message_count(),
            version: record.version,
        })
    }

    fn is_deleted(&self, session: SessionDigest, now: Timestamp) -> bool {
        self.tombstones.get(&session).is_some_and(|tombstone| tombstone.expires_at > now)
    }
}

#[async_trait]
impl<C: Clock> SessionStore for MemoryStore<C> {
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault> {
        let now = self.clock.now();
        let expires_at = now.checked_add(self.lifetime.reservation()).unwrap_or(Timestamp::MAX);
        let mut reserved = self
            .reservations
            .entry(name)
            .or_insert_with(|| Reservation { id: id.clone(), expires_at });
        if reserved.expires_at <= now {
            reserved.id = id;
        }
        reserved.expires_at = expires_at;
        Ok(reserved.id.clone())
    }

    async fn create_from(
        &self,
        access: Access,
        new: NewSession,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        let Access { session, caller, .. } = access;
        let now = self.clock.now();
        if let Caller::Subject(owner) = caller
            && !self.add_owned(owner, access, now)
        {
            return Err(CreateError::TooMany);
        }
        // With the index's entry there, a revocation from now on finds the session.
        self.revocations.check(caller, access)?;
        let vacant = match self.sessions.entry(session) {
            Entry::Occupied(mut there) if there.get().expires_at > now => {
                let record = there.get_mut();
                if !caller.may_use(record.owner) {
                    return Err(CreateError::Exists);
                }
                record.expires_at = self.lifetime.expires_at(record.created_at, now);
                return record.repeated_create(keyed);
            }
            expired_or_vacant => expired_or_vacant,
        };
        if self.is_deleted(session, now) {
            return Err(CreateError::Deleted);
        }
        let record = Record::new(new, caller, self.lifetime.expires_at(now, now), now, keyed);
        let created = Written {
            value: record.session(),
            source: Source::Created,
            outcome: WriteOutcome::Applied,
        };
        drop(vacant.insert(record));
        Ok(created)
    }

    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError> {
        self.with(access, |record, _| from_memory(record.session()))?.ok_or(ReadError::NotFound)
    }

    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        let append = |record: &mut Record, now| match record.kept(keyed) {
            Some(Ok(Kept::Appended { number, version, nonce })) => {
                let message = record.message(*number);
                Ok(written(
                    Appended { message, version: *version, nonce: Some(*nonce) },
                    WriteOutcome::Replayed,
                ))
            }
            Some(_) => Err(AppendError::KeyReused),
            None if !expected.allows(record.tag()) => Err(AppendError::PreconditionFailed),
            None if record.message_count() >= MAX_MESSAGES => Err(AppendError::Full),
            None => Ok(written(record.append(message, now, keyed), WriteOutcome::Applied)),
        };
        let appended = self.with(access, append)?.ok_or(AppendError::NotFound)?;
        self.notify(access.session, appended)
    }

    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError> {
        let patch = |record: &mut Record, now| match record.kept(keyed) {
            Some(Ok(Kept::Patched(session))) => {
                Ok(written(session.clone(), WriteOutcome::Replayed))
            }
            Some(_) => Err(PatchError::KeyReused),
            None if !expected.allows(record.tag()) => Err(PatchError::PreconditionFailed),
            None => {
                record.client_data = record.client_data.merged(patch)?;
                Ok(written(record.patched(now, keyed), WriteOutcome::Applied))
            }
        };
        let patched = self.with(access, patch)?.ok_or(PatchError::NotFound)?;
        self.notify(access.session, patched)
    }

    async fn adopt(
        &self,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError> {
        self.adopt_now(access, adoption, expected, keyed)
    }

    async fn delete_if(
        &self,
        access: Access,
        expected: &Expected,
    ) -> Result<Served<()>, DeleteError> {
        let Access { session, caller, .. } = access;
        let now = self.clock.now();
        match self.sessions.entry(session) {
            Entry::Occupied(mut there) if there.get().expires_at > now => {
                let record = there.get_mut();
                let owner = record.owner;
                if !caller.may_use(owner) {
                    return Err(DeleteError::NotFound);
                }
                self.revocations.check(owner, access)?;
                if !expected.allows(record.tag()) {
                    record.expires_at = self.lifetime.expires_at(record.created_at, now);
                    return Err(DeleteError::PreconditionFailed);
                }
                let expires_at = now.checked_add(self.lifetime.absolute).unwrap_or(Timestamp::MAX);
                self.tombstones.insert(session, Tombstone { owner, expires_at, adopted: None });
                there.remove();
                if let Caller::Subject(owner) = owner {
                    self.owned.remove(owner, session);
                }
                self.watchers.notify(session);
                Ok(from_memory(()))
            }
            _ => match self.tombstones.get(&session) {
                Some(stone)
                    if stone.expires_at > now
                        && stone.adopted.is_none()
                        && caller.may_use(stone.owner) =>
                {
                    Ok(from_memory(()))
                }
                _ => Err(DeleteError::NotFound),
            },
        }
    }

    async fn history(
        &self,
        access: Access,
        at: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        self.with(access, |record, _| from_memory(record.page(at, size)))?
            .ok_or(ReadError::NotFound)
    }

    async fn owned(&self, owner: ShortDigest) -> Result<Vec<OwnedEntry>, StoreFault> {
        Ok(self.owned.entries(owner))
    }

    async fn look(
        &self,
        owner: ShortDigest,
        entries: &[OwnedEntry],
    ) -> Result<Vec<OwnedSession>, StoreFault> {
        let now = self.clock.now();
        Ok(entries.iter().filter_map(|entry| self.look_at(owner, *entry, now)).collect())
    }

    async fn revoke(&self, owner: ShortDigest, not_before: i64) -> Result<(), StoreFault> {
        self.revocations.add(owner, not_before);
        // Live connections read their session again, and find the revocation.
        for entry in self.owned.entries(owner) {
            self.watchers.notify(entry.session);
        }
        Ok(())
    }

    async fn not_before(&self, owner: ShortDigest) -> Result<i64, StoreFault> {
        Ok(self.revocations.not_before(owner))
    }

    async fn record_ticket_use(&self, ticket: TicketUse, ttl: Duration) -> Result<(), StoreFault> {
        let ends = self.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX);
        self.tickets.insert(ticket, ends);
        Ok(())
    }

    async fn is_ticket_in_use(&self, ticket: TicketUse) -> Result<bool, StoreFault> {
        let now = self.clock.now();
        Ok(self.tickets.get(&ticket).is_some_and(|ends| *ends > now))
    }

    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        Ok(self.watchers.watch(session))
    }

    fn live_sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    fn hot_sessions(&self) -> u64 {
        self.live_sessions()
    }
}

fn from_memory<T>(value: T) -> Served<T> {
    Served { value, source: Source::Memory }
}

fn written<T>(value: T, outcome: WriteOutcome) -> Written<T> {
    Written { value, source: Source::Memory, outcome }
}

/// What remains of a deleted session.
struct Tombstone {
    owner: Caller,
    expires_at: Timestamp,
    /// The id under which the owner adopted it, if it was not deleted.
    adopted: Option<SealedId>,
}

/// A reserved id for a keyed create.
struct Reservation {
    id: SealedId,
    expires_at: Timestamp,
}
