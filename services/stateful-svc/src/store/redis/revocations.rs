//! Revocations of users' tokens: each session's record has its owner's `not_before`.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use service_kit::outage::RetryDeadline;

use super::claim::{Claim, Stamped};
use super::fields::{millis, not_before_key};
use super::scripts::Reply;
use super::{Acknowledged, OnOutage, RedisStore};
use crate::domain::caller::{Caller, IssuedAt};
use crate::domain::digest::ShortDigest;
use crate::store::{Access, CreateError, Routing, StoreFault};

/// How long `not_before` is kept at least, besides the longest life of a session: longer than an
/// access token is valid.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// How many sessions of a user are visited at once. Each may wait until the lease of a stopped
/// instance has ended, and all records should be changed before that.
const VISITED_AT_ONCE: usize = 256;

impl RedisStore {
    /// Stores the user's `not_before` first and reads its index then; a create does it the other
    /// way round. So either this finds the new session, or the create finds `not_before`.
    pub(in crate::store) async fn revoke_tokens(
        &self,
        owner: ShortDigest,
        not_before: i64,
    ) -> Result<(), StoreFault> {
        let not_before = self.store_not_before(owner, not_before).await?;
        let entries = self.owned_entries(owner).await?;
        stream::iter(entries)
            .map(|entry| {
                let access = Access {
                    session: entry.session,
                    affinity: entry.affinity,
                    caller: Caller::Subject(owner),
                    issued_at: IssuedAt::NEVER_REVOKED,
                    routing: Routing::RoundRobin,
                };
                self.raise(owner, access, not_before)
            })
            .buffer_unordered(VISITED_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Raises `not_before` in a session's record, if the user has this session. Returns when all
    /// copies with an earlier one are dropped.
    async fn raise(
        &self,
        owner: ShortDigest,
        access: Access,
        not_before: i64,
    ) -> Result<(), StoreFault> {
        let mut call = self.call(&self.scripts.revoke, access);
        call.arg(owner.to_string()).arg(not_before);
        let claim = Claim::Write(None);
        let _: Stamped<Reply<i64>> = self.run(access, call, claim, OnOutage::Wait).await?;
        Ok(())
    }

    /// The last step of a create: tokens may have been revoked since its first one.
    pub(super) async fn check_created(
        &self,
        access: Access,
        known: i64,
    ) -> Result<(), CreateError> {
        let Caller::Subject(owner) = access.caller else { return Ok(()) };
        let not_before = self.read_not_before(owner).await?;
        if not_before > known {
            self.raise(owner, access, not_before).await?;
        }
        if access.issued_at.is_before(not_before) { Err(CreateError::Revoked) } else { Ok(()) }
    }

    async fn store_not_before(
        &self,
        owner: ShortDigest,
        not_before: i64,
    ) -> Result<i64, StoreFault> {
        let key = not_before_key(owner);
        let ttl = self.lifetime.absolute + KEPT_FOR;
        let mut call = self.scripts.not_before.prepare_invoke();
        call.key(&key).arg(not_before).arg(millis(ttl));
        let Acknowledged { response, is_acked } =
            self.send_with_retries(&key, &mut call, self.acks, RetryDeadline::start()).await?;
        if !is_acked {
            let fault = "too few replicas have acknowledged the revocation";
            return Err(self.logged(StoreFault::Unfinished(fault.into())));
        }
        Ok(response)
    }

    /// See [`SessionStore::not_before`](crate::store::SessionStore::not_before).
    pub(in crate::store) async fn read_not_before(
        &self,
        owner: ShortDigest,
    ) -> Result<i64, StoreFault> {
        let key = not_before_key(owner);
        let deadline = RetryDeadline::start();
        loop {
            self.outage.wait_until_recovered(deadline, || self.responds(&key)).await;
            match self.command::<Option<i64>>(&key, redis::cmd("GET").arg(&key)).await {
                Ok(known) => {
                    self.outage.responded();
                    return Ok(known.unwrap_or(0));
                }
                Err(failure) => {
                    let fault = self.logged(failure.into());
                    if !self.outage.is_worth_another_attempt(deadline).await {
                        return Err(fault);
                    }
                }
            }
        }
    }
}
