//! What requests and background tasks of the hybrid store share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proto_contracts::SessionDigest;

use super::hot_copy::HotCopy;
use super::lease::Lease;
use super::touches::Touches;
use crate::domain::clock::SteadyClock;
use crate::domain::lifetime::Lifetime;
use crate::domain::message::Appended;
use crate::domain::session::Session;
use crate::domain::session_tag::WriteNonce;
use crate::store::failpoints::{Failpoint, is_active};
use crate::store::redis::claim::{Claim, LeaseId, Stamp, Stamped};
use crate::store::redis::{OnOutage, RedisStore};
use crate::store::{Access, ReadError, Routing, Served, Source, StoreFault};

/// How long after its lease has expired an instance serves its copies, as unverified, while Redis
/// is away.
const GRACE: Duration = Duration::from_secs(60);

pub(super) struct Shared<C> {
    pub(super) redis: RedisStore,
    /// The lease that the instance holds, if any. A loaded lease stays usable after its
    /// replacement: whatever is done under it affects its own hot set alone.
    pub(super) lease: ArcSwapOption<Lease>,
    pub(super) touches: Touches,
    pub(super) lifetime: Lifetime,
    pub(super) hot_set_bytes: u64,
    pub(super) touch_interval: Duration,
    pub(super) clock: C,
}

/// A reserved entry of the hot set, for an operation that may leave a copy.
pub(super) struct PendingCopy {
    lease: Arc<Lease>,
    session: SessionDigest,
    ticket: u64,
    /// The copy that the entry held before.
    pub(super) previous: Option<Arc<HotCopy>>,
    /// When the operation began, by the instance's clock.
    sent: Duration,
}

impl PendingCopy {
    /// Stores the session as the operation left it, if Redis granted the copy.
    pub(super) fn commit(self, access: Access, session: Session, stamp: Stamp) {
        if stamp.held {
            self.lease.hot.commit(
                self.session,
                self.ticket,
                HotCopy::new(session, access.caller, stamp, self.sent),
            );
        } else {
            self.abandon();
        }
    }

    pub(super) fn abandon(self) {
        self.lease.hot.abandon(self.session, self.ticket);
    }
}

impl<C: SteadyClock> Shared<C> {
    /// The session from memory, if it may be served from there.
    pub(super) fn hot(&self, access: Access) -> Option<Served<Session>> {
        if access.routing != Routing::Sticky {
            return None;
        }
        let lease = self.lease.load();
        let lease = lease.as_ref()?;
        // The lease before the copy: a lease trusted now guarantees the copy that is looked up
        // later.
        let now = self.clock.now();
        if !lease.is_trusted(now) && !is_active(Failpoint::NoLeaseCheck) {
            return None;
        }
        let copy = lease.hot.hot(access.session)?;
        // Close to the session's expiry, Redis must see the read before the response.
        let value = copy.show(access.credentials(), now, 2 * self.touch_interval)?;
        if copy.record_use() {
            self.touches.add(access.session);
        }
        Some(Served { value, source: Source::Memory })
    }

    /// Drops the copy under this lease, and returns the newest ticket whose copy is gone; `None`
    /// when this instance no longer holds the lease.
    pub(super) fn drop_copy(&self, lease: LeaseId, session: SessionDigest) -> Option<u64> {
        let held = self.lease.load();
        let held = held.as_ref().filter(|held| held.id == lease)?;
        Some(held.hot.drop_copy(session))
    }

    /// Reserves the session's entry, if the instance holds a lease.
    fn reserve(&self, access: Access) -> Option<PendingCopy> {
        let lease = self.lease.load_full()?;
        let reserved = lease.hot.reserve(access.session);
        let sent = self.clock.now();
        Some(PendingCopy {
            lease,
            session: access.session,
            ticket: reserved.ticket,
            previous: reserved.previous,
            sent,
        })
    }

    /// The same for a write, with its claim.
    pub(super) fn reserve_for_write(&self, access: Access) -> (Option<PendingCopy>, Claim) {
        match access.routing {
            Routing::Sticky => {
                let pending = self.reserve(access);
                let claim = pending
                    .as_ref()
                    .map(|pending| Claim::TakeAndWrite(pending.lease.mark(pending.ticket)));
                (pending, claim.unwrap_or(Claim::Write(None)))
            }
            Routing::RoundRobin => {
                let is_here =
                    self.lease.load().as_ref().is_some_and(|lease| lease.hot.has(access.session));
                let pending = if is_here { self.reserve(access) } else { None };
                let mark = pending.as_ref().map(|pending| pending.lease.mark(pending.ticket));
                (pending, Claim::Write(mark))
            }
        }
    }

    /// The previous copy, served as unverified while Redis is away.
    fn unverified(&self, access: Access, pending: Option<PendingCopy>) -> Option<Served<Session>> {
        let PendingCopy { lease, previous, .. } = pending?;
        let now = self.clock.now();
        if lease.expired_for(now) > GRACE {
            return None;
        }
        let value = previous?.show(access.credentials(), now, Duration::ZERO)?;
        Some(Served { value, source: Source::Unverified })
    }

    pub(super) async fn read_from_redis(
        &self,
        access: Access,
    ) -> Result<Served<Session>, ReadError> {
        // A paused process finds its response timeout expired when it resumes, which proves no
        // outage. So the copy in memory is served as unverified only after a second attempt has
        // failed, too.
        match self.try_to_read(access, self.on_outage(access)).await {
            Err((error, pending)) if is_away(&error) => {
                self.try_to_read(access, OnOutage::Fail).await.or_else(|(error, again)| {
                    let pending = again.or(pending).filter(|_| is_away(&error));
                    self.unverified(access, pending).ok_or(error)
                })
            }
            outcome => outcome.map_err(|(error, _)| error),
        }
    }

    /// A read waits for Redis where there is no copy to serve as unverified.
    fn on_outage(&self, access: Access) -> OnOutage {
        let has_copy =
            || self.lease.load().as_ref().is_some_and(|lease| lease.hot.has(access.session));
        if access.routing == Routing::Sticky && has_copy() {
            OnOutage::Fail
        } else {
            OnOutage::Wait
        }
    }

    /// After a store failure the entry stays reserved, since it holds the previous copy.
    async fn try_to_read(
        &self,
        access: Access,
        on_outage: OnOutage,
    ) -> Result<Served<Session>, (ReadError, Option<PendingCopy>)> {
        let pending = if access.routing == Routing::Sticky { self.reserve(access) } else { None };
        let claim = pending
            .as_ref()
            .map_or(Claim::Look, |pending| Claim::Take(pending.lease.mark(pending.ticket)));
        match self.redis.read_as(claim, access, on_outage).await {
            Ok(Stamped { value, stamp }) => {
                if let Some(pending) = pending {
                    pending.commit(access, value.value.clone(), stamp);
                }
                Ok(value)
            }
            Err(error @ (ReadError::NotFound | ReadError::Revoked)) => {
                pending.into_iter().for_each(PendingCopy::abandon);
                Err((error, None))
            }
            Err(error) => Err((error, pending)),
        }
    }

    /// The session after a message, if the copy before was the latest version.
    pub(super) fn after_message(
        &self,
        before: &Session,
        appended: &Appended,
        nonce: WriteNonce,
    ) -> Option<Session> {
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

/// Whether the read failed because Redis did not respond.
const fn is_away(error: &ReadError) -> bool {
    matches!(error, ReadError::Store(StoreFault::Unavailable(_) | StoreFault::NoResponse(_)))
}
