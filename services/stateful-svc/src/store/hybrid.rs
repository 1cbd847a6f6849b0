//! Sessions in Redis, with a hot copy in the memory of the instance that is their home: the
//! default.
//!
//! Redis is the source of truth, and each write is the same script as in the
//! [`redis`](super::redis) store. The home of a session serves reads from its memory. Leases keep
//! these reads linearizable:
//!
//! - An instance holds one lease (`lease`). It serves a copy only while it trusts the lease, which
//!   it checks after the request has arrived and before it looks up the copy. The `lease_keeper`
//!   renews the lease.
//! - A session's record names the one copy that may be served, and copies that may still exist. An
//!   instance that takes the session over, or writes to it from elsewhere, does not respond before
//!   those are dropped: see [`handover`](super::redis).
//! - Each operation that may leave a copy reserves its entry (`hot_set`) before it is sent.
//!
//! `docs/adr/0005-leases-make-memory-reads-linearizable.md` gives the argument;
//! `tests/it/lease_model.rs` checks all interleavings of a small model.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use prometheus::core::Collector;
use proto_contracts::SessionDigest;
use service_kit::redis::{Acks, PoolUnusable, RedisPool, RedisTarget, RedisTimeouts};
use tokio::sync::watch;

use super::redis::RedisStore;
use super::redis::claim::Stamped;
use super::{
    Access, AdoptError, Adopted, Adoption, AppendError, CloseError, CreateError, DeleteError,
    PatchError, ReadError, Served, SessionStore, StoreFault, WriteOutcome, Written,
};
use crate::domain::client_data::MergePatch;
use crate::domain::clock::SteadyClock;
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::lifetime::Lifetime;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::owned::{OwnedEntry, OwnedSession};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::domain::tickets::TicketUse;
use crate::store::changes::Changes;

mod gauges;
mod hot_copy;
mod hot_set;
mod lease;
mod lease_keeper;
mod shared;
mod touch_flush;
mod touches;

use gauges::Gauges;
use shared::{PendingCopy, Shared};
use touches::Touches;

/// Sessions in Redis and in memory.
pub struct HybridStore<C> {
    shared: Arc<Shared<C>>,
    /// Stops the lease keeper, by a message or by being dropped.
    stop: watch::Sender<()>,
}

impl<C: SteadyClock> HybridStore<C> {
    /// A store on this Redis, which need not be reachable yet. It keeps copies of about
    /// `hot_set_bytes` in memory. Writes wait for `acks` replicas (`None`: for the master alone).
    /// Must be called within a Tokio runtime, on which the lease is renewed.
    ///
    /// # Errors
    /// When the URL of Redis cannot be used.
    pub fn new(
        target: &RedisTarget,
        lifetime: Lifetime,
        hot_set_bytes: u64,
        acks: Option<Acks>,
        clock: C,
    ) -> Result<(Self, RedisPool), PoolUnusable> {
        let pool = target.pool(RedisTimeouts::STORE)?;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared<C>>| Shared {
            redis: RedisStore::new(target, pool.clone(), lifetime).acknowledged(acks).with_copies(
                Box::new({
                    let shared = Weak::clone(shared);
                    move |lease, session| shared.upgrade()?.drop_copy(lease, session)
                }),
            ),
            lease: ArcSwapOption::empty(),
            touches: Touches::default(),
            lifetime,
            hot_set_bytes,
            touch_interval: touches::interval(lifetime),
            clock,
        });
        let (stop, stopped) = watch::channel(());
        tokio::spawn(lease_keeper::run(Arc::downgrade(&shared), target.clone(), stopped));
        tokio::spawn(touch_flush::run(Arc::downgrade(&shared), shared.touch_interval));
        Ok((Self { shared, stop }, pool))
    }

    /// The metrics of handovers and of the hot set, to be registered.
    ///
    /// # Errors
    /// When a metric name is invalid.
    pub fn collectors(&self) -> Result<Vec<Box<dyn Collector>>, prometheus::Error> {
        let mut collectors = self.shared.redis.collectors();
        collectors.push(Box::new(Gauges::new(&self.shared)?));
        Ok(collectors)
    }

    /// Whether sessions may be served from memory now.
    pub fn holds_lease(&self) -> bool {
        let now = self.shared.clock.now();
        self.shared.lease.load().as_ref().is_some_and(|lease| lease.is_trusted(now))
    }

    /// Sends Redis the uses of all sessions that were read from memory.
    ///
    /// # Errors
    /// When Redis is unavailable.
    pub async fn flush_touches(&self) -> Result<(), StoreFault> {
        touch_flush::flush(&self.shared).await
    }
}

#[async_trait]
impl<C: SteadyClock> SessionStore for HybridStore<C> {
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault> {
        self.shared.redis.reserve(name, id).await
    }

    async fn create_from(
        &self,
        access: Access,
        new: NewSession,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        let (pending, claim) = self.shared.reserve_for_write(access);
        let created = self.shared.redis.create_as(claim, access, new, keyed).await;
        commit(access, pending, created, |written| Some(written.clone()))
    }

    fn peek(&self, access: Access) -> Option<Served<Session>> {
        self.shared.hot(access)
    }

    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError> {
        match self.shared.hot(access) {
            Some(hot) => Ok(hot),
            None => self.shared.read_from_redis(access).await,
        }
    }

    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        let (pending, claim) = self.shared.reserve_for_write(access);
        let nonce = WriteNonce::random();
        let appended =
            self.shared.redis.append_as(claim, access, message, nonce, expected, keyed).await;
        let previous = pending.as_ref().and_then(|pending| pending.previous.clone());
        commit(access, pending, appended, |appended| {
            self.shared.after_message(previous?.session(), appended, nonce)
        })
    }

    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError> {
        let (pending, claim) = self.shared.reserve_for_write(access);
        let patched = self.shared.redis.patch_as(claim, access, patch, expected, keyed).await;
        commit(access, pending, patched, |session| Some(session.clone()))
    }

    fn can_rename(&self, from: SessionDigest, to: SessionDigest) -> bool {
        self.shared.redis.can_rename(from, to)
    }

    async fn adopt(
        &self,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError> {
        let (pending, claim) = self.shared.reserve_for_write(access);
        let adopted = self.shared.redis.adopt_as(claim, access, adoption, expected, keyed).await;
        pending.into_iter().for_each(PendingCopy::abandon);
        adopted
    }

    async fn delete_if(
        &self,
        access: Access,
        expected: &Expected,
    ) -> Result<Served<()>, DeleteError> {
        let (pending, claim) = self.shared.reserve_for_write(access);
        let deleted = self.shared.redis.delete_as(claim, access, expected).await;
        pending.into_iter().for_each(PendingCopy::abandon);
        deleted
    }

    async fn history(
        &self,
        access: Access,
        at: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        self.shared.redis.read_history(access, at, size).await
    }

    async fn owned(&self, owner: ShortDigest) -> Result<Vec<OwnedEntry>, StoreFault> {
        self.shared.redis.owned_entries(owner).await
    }

    async fn look(
        &self,
        owner: ShortDigest,
        entries: &[OwnedEntry],
    ) -> Result<Vec<OwnedSession>, StoreFault> {
        self.shared.redis.look_at_all(owner, entries).await
    }

    async fn revoke(&self, owner: ShortDigest, not_before: i64) -> Result<(), StoreFault> {
        self.shared.redis.revoke_tokens(owner, not_before).await
    }

    async fn not_before(&self, owner: ShortDigest) -> Result<i64, StoreFault> {
        self.shared.redis.read_not_before(owner).await
    }

    async fn record_ticket_use(&self, ticket: TicketUse, ttl: Duration) -> Result<(), StoreFault> {
        self.shared.redis.record_ticket_use(ticket, ttl).await
    }

    async fn is_ticket_in_use(&self, ticket: TicketUse) -> Result<bool, StoreFault> {
        self.shared.redis.is_ticket_in_use(ticket).await
    }

    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        self.shared.redis.watch(session).await
    }

    async fn close(&self) -> Result<(), CloseError> {
        self.stop.send_replace(());
        // The keeper has stopped then, and takes no other lease.
        self.stop.closed().await;
        self.shared.redis.outdate_connections();
        // Other instances wait for the lease, so it comes first. The touches are flushed even if
        // its release failed.
        let released = lease_keeper::release(&self.shared).await.map_err(CloseError::Lease);
        let flushed = touch_flush::flush(&self.shared).await.map_err(CloseError::Touches);
        released.and(flushed)
    }

    fn live_sessions(&self) -> u64 {
        self.shared.redis.live_sessions()
    }

    fn hot_sessions(&self) -> u64 {
        self.shared.lease.load().as_ref().map_or(0, |lease| lease.hot.size().0)
    }
}

/// Commits the session that a write left, unless the write was a repetition or its result is not
/// known in full.
fn commit<T, E>(
    access: Access,
    pending: Option<PendingCopy>,
    outcome: Result<Stamped<Written<T>>, E>,
    session_after: impl FnOnce(&T) -> Option<Session>,
) -> Result<Written<T>, E> {
    // A failed write leaves its entry pending: the previous copy is served only as unverified,
    // while Redis is away.
    let Stamped { value: written, stamp } = outcome?;
    if let Some(pending) = pending {
        let session = if written.outcome == WriteOutcome::Applied {
            session_after(&written.value)
        } else {
            None
        };
        match session {
            Some(session) => pending.commit(access, session, stamp),
            None => pending.abandon(),
        }
    }
    Ok(written)
}
