//! Sessions in Redis, with a hot copy in the instance that is their home: the default.
//!
//! Redis holds the truth, and each write is the same script as in the [`redis`](super::redis) store. The home of a session
//! answers reads from its memory. That nobody is ever shown an older version than somebody has seen before is due to leases:
//!
//! - An instance holds one lease (`lease`) for itself. It serves a copy only while it trusts the lease, which it looks at after
//!   the request has arrived, and before it looks for the copy. The `keeper` renews it.
//! - A session's record names the one copy that may be served, and copies that may not be gone yet. Who takes the session
//!   over, or writes to it from elsewhere, tells nobody before they are gone: see [`handover`](super::redis).
//! - Each act that may leave a copy makes its slot its own (`hot_set`) before it is sent.
//!
//! `docs/adr/0005-leases-make-memory-reads-linearizable.md` carries the argument; `tests/it/lease_model.rs` tries every
//! interleaving of it in the small.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use prometheus::core::Collector;
use proto_contracts::SessionDigest;
use service_kit::redis::{Acks, PoolUnusable, RedisPool, RedisTarget, RedisTimeouts};
use tokio::sync::watch;

use super::redis::claim::{Claim, LeaseId, Stamp, Stamped};
use super::redis::{RedisStore, WhenAway};
use super::{
    Access, AppendError, CloseError, CreateError, DeleteError, Done, PatchError, ReadError, Routing, Served,
    SessionStore, Source, StoreFault, Written,
};
use crate::domain::client_data::{ClientData, MergePatch};
use crate::domain::clock::SteadyClock;
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::lifetime::Lifetime;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::Session;
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::domain::tickets::TicketUse;
use crate::store::broken::{Guarantee, is_broken};
use crate::store::changes::Changes;

mod copy;
mod gauges;
mod hot_set;
mod keeper;
mod lease;
mod touches;

use copy::Copy;
use gauges::Gauges;
use lease::Lease;
use touches::Touches;

/// For how long after its lease has run out an instance tells, as unverified, what it holds while Redis is away.
const GRACE: Duration = Duration::from_secs(60);

/// Sessions in Redis and in memory.
pub struct HybridStore<C> {
    shared: Arc<Shared<C>>,
    /// The keeper stops when it is told so, or when this is gone.
    stop: watch::Sender<()>,
}

/// What requests and background tasks work on.
struct Shared<C> {
    redis: RedisStore,
    /// The lease that the instance holds, if any. Whoever has loaded it may go on using it: all that is done under a lease
    /// stays with it.
    lease: ArcSwapOption<Lease>,
    touches: Touches,
    lifetime: Lifetime,
    hot_set_bytes: u64,
    window: Duration,
    clock: C,
}

impl<C: SteadyClock> HybridStore<C> {
    /// A store on this Redis, which need not be there yet, that holds at most about this many bytes in memory, and
    /// whose writes count when replicas have them (`None`: as soon as the master has). Must be called within a Tokio runtime, on which the lease is kept.
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
            redis: RedisStore::new(target, pool.clone(), lifetime).acknowledged(acks).with_copies(Box::new({
                let shared = Weak::clone(shared);
                move |lease, session| shared.upgrade()?.drop_copy(lease, session)
            })),
            lease: ArcSwapOption::empty(),
            touches: Touches::default(),
            lifetime,
            hot_set_bytes,
            window: touches::window(lifetime),
            clock,
        });
        let (stop, stopped) = watch::channel(());
        tokio::spawn(keeper::keep(Arc::downgrade(&shared), target.clone(), stopped));
        tokio::spawn(touches::tell(Arc::downgrade(&shared), shared.window));
        Ok((Self { shared, stop }, pool))
    }

    /// The counters and gauges of hand-overs and of the hot set, to be registered.
    ///
    /// # Errors
    /// When a name is not valid.
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

    /// Tells Redis at once of all sessions that were read from memory.
    ///
    /// # Errors
    /// When Redis could not be told.
    pub async fn tell_uses(&self) -> Result<(), StoreFault> {
        touches::tell_now(&self.shared).await
    }
}

/// An act that may leave a copy of a session, in the slot that it has made its own.
struct Fill {
    lease: Arc<Lease>,
    session: SessionDigest,
    ticket: u64,
    last: Option<Arc<Copy>>,
    /// When the act was begun, by the instance's own clock.
    sent: Duration,
}

impl Fill {
    /// Keeps the session as the act left it, if Redis said that we may.
    fn keep(self, access: Access, session: Session, stamp: Stamp) {
        if stamp.held {
            self.lease.hot.fill(self.session, self.ticket, Copy::new(session, access.caller, stamp, self.sent));
        } else {
            self.give_up();
        }
    }

    fn give_up(self) {
        self.lease.hot.give_up(self.session, self.ticket);
    }
}

impl<C: SteadyClock> Shared<C> {
    fn hot(&self, access: Access) -> Option<Served<Session>> {
        if access.routing != Routing::Sticky {
            return None;
        }
        let lease = self.lease.load();
        let lease = lease.as_ref()?;
        // The lease first and the copy then: what the lease vouches for now is what is there now, or will be later.
        let now = self.clock.now();
        if !lease.is_trusted(now) && !is_broken(Guarantee::LeaseCheck) {
            return None;
        }
        let copy = lease.hot.hot(access.session)?;
        // Close to its end, Redis must be told of the read before it is answered.
        let value = copy.show(access.caller, now, 2 * self.window)?;
        if copy.note_use() {
            self.touches.note(access.session);
        }
        Some(Served { value, source: Source::Memory })
    }

    /// Drops what is held of the session under this lease; `None` when it is not ours any more.
    fn drop_copy(&self, lease: LeaseId, session: SessionDigest) -> Option<u64> {
        let held = self.lease.load();
        let held = held.as_ref().filter(|held| held.id == lease)?;
        Some(held.hot.drop_copy(session))
    }

    /// Makes the session's slot an act's own.
    fn begin(&self, access: Access) -> Option<Fill> {
        let lease = self.lease.load_full()?;
        let begun = lease.hot.begin(access.session);
        let sent = self.clock.now();
        Some(Fill { lease, session: access.session, ticket: begun.ticket, last: begun.last, sent })
    }

    /// The same for a write, with what it claims.
    fn begin_write(&self, access: Access) -> (Option<Fill>, Claim) {
        match access.routing {
            Routing::Sticky => {
                let fill = self.begin(access);
                let claim = fill.as_ref().map(|fill| Claim::TakeAndWrite(fill.lease.mark(fill.ticket)));
                (fill, claim.unwrap_or(Claim::Write(None)))
            }
            Routing::RoundRobin => {
                let is_here = self.lease.load().as_ref().is_some_and(|lease| lease.hot.has(access.session));
                let fill = if is_here { self.begin(access) } else { None };
                let mark = fill.as_ref().map(|fill| fill.lease.mark(fill.ticket));
                (fill, Claim::Write(mark))
            }
        }
    }

    /// What is told of a session while Redis is away.
    fn unverified(&self, access: Access, fill: Option<Fill>) -> Option<Served<Session>> {
        let Fill { lease, last, .. } = fill?;
        let now = self.clock.now();
        if lease.lapsed_for(now) > GRACE {
            return None;
        }
        let value = last?.show(access.caller, now, Duration::ZERO)?;
        Some(Served { value, source: Source::Unverified })
    }

    async fn read_from_redis(&self, access: Access) -> Result<Served<Session>, ReadError> {
        // A process that stood still finds that the time for an answer is over, and says nothing of Redis by it. So what
        // is in memory is told only when Redis is asked again and does not answer either.
        match self.try_to_read(access, self.when_away(access)).await {
            Err((error, fill)) if is_away(&error) => {
                self.try_to_read(access, WhenAway::Fail).await.or_else(|(error, again)| {
                    let last = again.or(fill).filter(|_| is_away(&error));
                    self.unverified(access, last).ok_or(error)
                })
            }
            outcome => outcome.map_err(|(error, _)| error),
        }
    }

    /// Redis is waited for where there is nothing to tell without it.
    fn when_away(&self, access: Access) -> WhenAway {
        let has_copy = || self.lease.load().as_ref().is_some_and(|lease| lease.hot.has(access.session));
        if access.routing == Routing::Sticky && has_copy() { WhenAway::Fail } else { WhenAway::Wait }
    }

    /// A failure leaves the slot that it had made its own, for what was there before.
    async fn try_to_read(
        &self,
        access: Access,
        when_away: WhenAway,
    ) -> Result<Served<Session>, (ReadError, Option<Fill>)> {
        let fill = if access.routing == Routing::Sticky { self.begin(access) } else { None };
        let claim = fill.as_ref().map_or(Claim::Look, |fill| Claim::Take(fill.lease.mark(fill.ticket)));
        match self.redis.read_as(claim, access, when_away).await {
            Ok(Stamped { value, stamp }) => {
                if let Some(fill) = fill {
                    fill.keep(access, value.value.clone(), stamp);
                }
                Ok(value)
            }
            Err(ReadError::NotFound) => {
                fill.into_iter().for_each(Fill::give_up);
                Err((ReadError::NotFound, None))
            }
            Err(error) => Err((error, fill)),
        }
    }

    /// The session after a message, if we had it before.
    fn after_message(&self, before: &Session, appended: &Appended, nonce: WriteNonce) -> Option<Session> {
        if before.version + 1 != appended.version {
            return None;
        }
        let now = appended.message.created_at;
        Some(Session {
            client_data: before.client_data.clone(),
            created_at: before.created_at,
            last_activity: now,
            expires_at: self.lifetime.expires_at(before.created_at, now),
            message_count: appended.message.number,
            version: appended.version,
            nonce,
        })
    }
}

#[async_trait]
impl<C: SteadyClock> SessionStore for HybridStore<C> {
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault> {
        self.shared.redis.reserve(name, id).await
    }

    async fn create(
        &self,
        access: Access,
        client_data: ClientData,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        let (fill, claim) = self.shared.begin_write(access);
        let created = self.shared.redis.create_as(claim, access, client_data, keyed).await;
        kept(access, fill, created, |written| Some(written.clone()))
    }

    fn at_hand(&self, access: Access) -> Option<Served<Session>> {
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
        let (fill, claim) = self.shared.begin_write(access);
        let nonce = WriteNonce::random();
        let appended = self.shared.redis.append_as(claim, access, message, nonce, expected, keyed).await;
        let last = fill.as_ref().and_then(|fill| fill.last.clone());
        kept(access, fill, appended, |appended| self.shared.after_message(last?.session(), appended, nonce))
    }

    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError> {
        let (fill, claim) = self.shared.begin_write(access);
        let patched = self.shared.redis.patch_as(claim, access, patch, expected, keyed).await;
        kept(access, fill, patched, |session| Some(session.clone()))
    }

    async fn delete_if(&self, access: Access, expected: &Expected) -> Result<Served<()>, DeleteError> {
        let (fill, claim) = self.shared.begin_write(access);
        let deleted = self.shared.redis.delete_as(claim, access, expected).await;
        fill.into_iter().for_each(Fill::give_up);
        deleted
    }

    async fn history(&self, access: Access, after: Cursor, size: PageSize) -> Result<Served<HistoryPage>, ReadError> {
        self.shared.redis.look_at_history(access, after, size).await
    }

    async fn note_ticket(&self, ticket: TicketUse, lasts: Duration) -> Result<(), StoreFault> {
        self.shared.redis.note_ticket(ticket, lasts).await
    }

    async fn is_ticket_noted(&self, ticket: TicketUse) -> Result<bool, StoreFault> {
        self.shared.redis.is_ticket_noted(ticket).await
    }

    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        self.shared.redis.watch(session).await
    }

    async fn close(&self) -> Result<(), CloseError> {
        self.stop.send_replace(());
        // The keeper has let go of the lease then, and nobody takes another.
        self.stop.closed().await;
        self.shared.redis.outdate_connections();
        // Others wait for the lease. Each is tried, whatever came of the other.
        let given_back = keeper::give_back(&self.shared).await.map_err(CloseError::Lease);
        let told = touches::tell_now(&self.shared).await.map_err(CloseError::Uses);
        given_back.and(told)
    }

    fn live_sessions(&self) -> u64 {
        self.shared.redis.live_sessions()
    }
}

/// Whether the read failed because Redis does not answer.
const fn is_away(error: &ReadError) -> bool {
    matches!(error, ReadError::Store(StoreFault::Unavailable(_) | StoreFault::NoAnswer(_)))
}

/// Keeps what a write left, if it was done now and what it left is known.
fn kept<T, E>(
    access: Access,
    fill: Option<Fill>,
    outcome: Result<Stamped<Written<T>>, E>,
    left: impl FnOnce(&T) -> Option<Session>,
) -> Result<Written<T>, E> {
    // A write that failed leaves its slot as it is: nothing in it is served but, when Redis is away, as unverified.
    let Stamped { value: written, stamp } = outcome?;
    if let Some(fill) = fill {
        let session = if written.done == Done::Now { left(&written.value) } else { None };
        match session {
            Some(session) => fill.keep(access, session, stamp),
            None => fill.give_up(),
        }
    }
    Ok(written)
}
