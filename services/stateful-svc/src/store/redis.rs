//! Sessions in Redis: any instance serves any session, and each operation is one round trip.
//!
//! Each operation is one atomic script (`redis/*.lua`). Only a patch takes two, of which the second
//! checks that the session has not changed in between. See
//! `docs/adr/0003-session-writes-are-single-scripts.md`.
//!
//! The hybrid store builds on this one. Instances with either store can share a Redis. A write
//! waits until all copies of the session in other instances' memory are dropped (`handover`). That
//! costs nothing where there are none.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use proto_contracts::SessionDigest;
use redis::{Cmd, FromRedisValue, RedisError, Script, ScriptInvocation};
use service_kit::outage::{Outage, RetryDeadline};
use service_kit::redis::{Acks, Pooled, RedisPool, RedisTarget};
use service_kit::telemetry::chain;

use super::{
    Access, AdoptError, Adopted, Adoption, AppendError, CreateError, DeleteError, PatchError,
    ReadError, Served, SessionStore, StoreFault, Written,
};
use crate::domain::client_data::MergePatch;
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::lifetime::Lifetime;
use crate::domain::live_sessions::LiveSessions;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::owned::{OwnedEntry, OwnedSession};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::domain::tickets::TicketUse;
use crate::store::changes::Changes;

mod adopt;
mod announcements;
pub(super) mod claim;
mod entry;
mod failure;
mod fields;
mod handover;
pub(super) mod handover_state;
pub(super) mod leases;
mod lost;
mod operations;
mod owned;
mod reservations;
mod revocations;
mod scripts;
pub(super) mod server;

use announcements::Announcements;
use claim::{Claim, LeaseId, Stamp, Stamped};
use failure::Failure;
use fields::{caller_field, millis};
use handover_state::Handovers;
use lost::Lost;
use scripts::{Reply, Response, Scripts};

/// The most redirections within a Cluster. A redirected command was not executed.
const MAX_REDIRECTS: usize = 5;

/// How long a user's index counts as full without another look at its sessions.
const FULL_INDEX_FOR: Duration = Duration::from_secs(5);
/// How many such users are remembered, at some 100 bytes each.
const MAX_FULL_INDEXES: u64 = 10_000;

/// Sessions in Redis.
pub struct RedisStore {
    pool: RedisPool,
    acks: Option<Acks>,
    scripts: Scripts,
    lifetime: Lifetime,
    live: LiveSessions,
    lost: Lost,
    outage: Outage,
    handovers: Handovers,
    announcements: Announcements,
    /// Users whose index was found full of live sessions a moment ago.
    full_indexes: Cache<ShortDigest, ()>,
    drop_here: Box<DropHere>,
}

/// What an operation does while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnOutage {
    /// It waits through a short outage.
    Wait,
    /// It fails at once, since its caller has a fallback.
    Fail,
}

impl OnOutage {
    fn deadline(self) -> RetryDeadline {
        match self {
            Self::Wait => RetryDeadline::start(),
            Self::Fail => RetryDeadline::none(),
        }
    }
}

/// Drops a copy of this process under a lease. Returns the newest ticket whose copy is gone; `None`
/// when the process does not hold the lease.
pub(super) type DropHere = dyn Fn(LeaseId, SessionDigest) -> Option<u64> + Send + Sync;

impl RedisStore {
    /// A store on this Redis, which need not be reachable yet. Must be called within a Tokio
    /// runtime.
    pub fn new(target: &RedisTarget, pool: RedisPool, lifetime: Lifetime) -> Self {
        Self {
            pool,
            acks: None,
            scripts: Scripts::new(),
            lifetime,
            live: LiveSessions::new(lifetime.idle),
            lost: Lost::new(lifetime),
            outage: Outage::of("session store"),
            handovers: Handovers::new(),
            announcements: Announcements::new(target.clone()),
            full_indexes: Cache::builder()
                .max_capacity(MAX_FULL_INDEXES)
                .time_to_live(FULL_INDEX_FOR)
                .build(),
            drop_here: Box::new(|_, _| None),
        }
    }

    /// The same store, whose writes wait for replicas (`None`: for the master alone).
    pub fn acknowledged(self, acks: Option<Acks>) -> Self {
        Self { acks, ..self }
    }

    /// The same store, for a process that holds copies itself.
    pub(super) fn with_copies(self, drop_here: Box<DropHere>) -> Self {
        Self { drop_here, ..self }
    }

    /// A call of the script with the common arguments.
    fn call<'a>(&self, script: &'a Script, access: Access) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(fields::record_key(access.session)).key(fields::messages_key(access.session));
        call.arg(millis(self.lifetime.idle))
            .arg(millis(self.lifetime.absolute))
            .arg(caller_field(access.credentials()));
        call
    }

    /// Performs an operation and completes the handovers that it caused or found. Its result may be
    /// used only then.
    async fn run<T: FromRedisValue, R: FromRedisValue>(
        &self,
        access: Access,
        mut call: ScriptInvocation<'_>,
        claim: Claim,
        on_outage: OnOutage,
    ) -> Result<Stamped<Reply<T, R>>, StoreFault> {
        let (word, lease, ticket) = claim.fields();
        call.arg(word).arg(lease).arg(ticket);
        // A plain read changes only the expiry.
        let acks = self.acks.filter(|_| claim != Claim::Look);
        let key = fields::record_key(access.session);
        let Acknowledged { response, is_acked } =
            self.send_with_retries(&key, &mut call, acks, on_outage.deadline()).await?;
        let Response { now, held, is_owned, drops, not_before, reply } = response;
        let reply =
            reply.ok_or_else(|| StoreFault::NoResponse("later writes hide the outcome".into()))?;
        if !is_acked && claim.writes() {
            let fault =
                StoreFault::Unfinished("too few replicas have acknowledged the write".into());
            return Err(self.logged(fault));
        }
        // Without the acknowledgement a failover could lose the record of this copy.
        let held = held && is_acked;
        match &reply {
            // Not the session's end: another token may use it.
            Reply::Revoked => {}
            Reply::Nil => {
                self.live.ended(access.session);
                self.check_lost(access.session).await;
            }
            Reply::Refused
            | Reply::KeyReused
            | Reply::PreconditionFailed
            | Reply::Done(_)
            | Reply::Replayed(_) => {
                self.live.used(access.session);
                self.lost.used(access.session);
            }
        }
        if !drops.is_empty() {
            self.finish_drops(access.session, drops).await?;
        }
        Ok(Stamp { now, held, is_owned, not_before }.on(reply))
    }

    /// A session that was not found has another owner, was deleted, has expired, or was lost.
    async fn check_lost(&self, session: SessionDigest) {
        if !self.lost.forget(session) {
            return;
        }
        let record = fields::record_key(session);
        // A session of another owner has a record, a deleted one a tombstone. A failed command
        // proves nothing.
        if let Ok(false) = self.command(&record, redis::cmd("EXISTS").arg(&record)).await {
            self.lost.report(session);
        }
    }

    /// Calls a script, with retries through a short outage.
    ///
    /// A call is retried if it was certainly not executed. It is also retried after a broken
    /// connection, with the argument `again`: the script then detects whether the earlier attempt
    /// was executed. After a timeout, when the call may still be executed at any time, it is not
    /// retried.
    async fn send_with_retries<T: FromRedisValue>(
        &self,
        key: &str,
        call: &mut ScriptInvocation<'_>,
        acks: Option<Acks>,
        deadline: RetryDeadline,
    ) -> Result<Acknowledged<T>, StoreFault> {
        let mut unknown = None;
        loop {
            self.outage.wait_until_recovered(deadline, || self.responds(key)).await;
            let failure = match self.send(key, call, acks).await {
                Ok(response) => {
                    self.outage.responded();
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            let may_repeat = matches!(failure, Failure::Away(_) | Failure::Broken(_));
            let is_unknown = matches!(failure, Failure::Broken(_));
            let fault = self.logged(failure.into());
            if !may_repeat || !self.outage.is_worth_another_attempt(deadline).await {
                return Err(unknown.unwrap_or(fault));
            }
            if is_unknown && unknown.is_none() {
                call.arg("again");
                unknown = Some(fault);
            }
        }
    }

    /// Logs a fault, and returns it.
    fn logged(&self, fault: StoreFault) -> StoreFault {
        let cause = || fault.source().map(chain).unwrap_or_default();
        match &fault {
            StoreFault::Unavailable(_) | StoreFault::NoResponse(_) => self.outage.failed(cause),
            // No outage of Redis, and rare: logged each time.
            StoreFault::Unfinished(_) => tracing::warn!(cause = cause(), "{fault}"),
            // No outage either; the request's handler logs it.
            StoreFault::Damaged(_) => {}
        }
        fault
    }

    /// Whether the server that owns a key responds.
    async fn responds(&self, key: &str) -> bool {
        self.command::<()>(key, &redis::cmd("PING")).await.is_ok()
    }

    /// Calls a script at the master that owns its keys.
    async fn send<T: FromRedisValue>(
        &self,
        key: &str,
        call: &ScriptInvocation<'_>,
        acks: Option<Acks>,
    ) -> Result<Acknowledged<T>, Failure> {
        let mut connection = self.pool.owner_of(key).await?;
        for _ in 0..MAX_REDIRECTS {
            if let Some(acks) = acks {
                connection.await_acks(acks);
            }
            match call.invoke_async(&mut *connection).await {
                Ok(response) => {
                    return Ok(Acknowledged { response, is_acked: connection.is_acked() });
                }
                Err(error) => connection = self.follow_redirect(error).await?,
            }
        }
        Err(too_many_redirects())
    }

    /// The same for a single command.
    async fn command<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, Failure> {
        let mut connection = self.pool.owner_of(key).await?;
        for _ in 0..MAX_REDIRECTS {
            match command.query_async(&mut *connection).await {
                Ok(response) => return Ok(response),
                Err(error) => connection = self.follow_redirect(error).await?,
            }
        }
        Err(too_many_redirects())
    }

    /// A connection to the server that a redirection names; other errors are returned.
    async fn follow_redirect(&self, error: RedisError) -> Result<Pooled, Failure> {
        match self.pool.redirected(&error).await {
            Some(connection) => Ok(connection?),
            None => Err(error.into()),
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault> {
        self.reserve(name, id).await
    }

    async fn create_from(
        &self,
        access: Access,
        new: NewSession,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        Ok(self.create_as(Claim::Write(None), access, new, keyed).await?.value)
    }

    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError> {
        Ok(self.read_as(Claim::Look, access, OnOutage::Wait).await?.value)
    }

    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        Ok(self
            .append_as(Claim::Write(None), access, message, WriteNonce::random(), expected, keyed)
            .await?
            .value)
    }

    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError> {
        Ok(self.patch_as(Claim::Write(None), access, patch, expected, keyed).await?.value)
    }

    fn can_rename(&self, from: SessionDigest, to: SessionDigest) -> bool {
        self.pool.is_one_slot(&fields::record_key(from), &fields::record_key(to))
    }

    async fn adopt(
        &self,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError> {
        self.adopt_as(Claim::Write(None), access, adoption, expected, keyed).await
    }

    async fn delete_if(
        &self,
        access: Access,
        expected: &Expected,
    ) -> Result<Served<()>, DeleteError> {
        self.delete_as(Claim::Write(None), access, expected).await
    }

    async fn history(
        &self,
        access: Access,
        at: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        self.read_history(access, at, size).await
    }

    async fn owned(&self, owner: ShortDigest) -> Result<Vec<OwnedEntry>, StoreFault> {
        self.owned_entries(owner).await
    }

    async fn look(
        &self,
        owner: ShortDigest,
        entries: &[OwnedEntry],
    ) -> Result<Vec<OwnedSession>, StoreFault> {
        self.look_at_all(owner, entries).await
    }

    async fn revoke(&self, owner: ShortDigest, not_before: i64) -> Result<(), StoreFault> {
        self.revoke_tokens(owner, not_before).await
    }

    async fn not_before(&self, owner: ShortDigest) -> Result<i64, StoreFault> {
        self.read_not_before(owner).await
    }

    async fn record_ticket_use(&self, ticket: TicketUse, ttl: Duration) -> Result<(), StoreFault> {
        let key = fields::ticket_key(ticket);
        let set = redis::cmd("SET").arg(&key).arg(1).arg("PX").arg(millis(ttl)).to_owned();
        Ok(self.command(&key, &set).await?)
    }

    async fn is_ticket_in_use(&self, ticket: TicketUse) -> Result<bool, StoreFault> {
        let key = fields::ticket_key(ticket);
        Ok(self.command(&key, redis::cmd("EXISTS").arg(&key)).await?)
    }

    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        self.announcements.watch(session).await
    }

    fn live_sessions(&self) -> u64 {
        self.live.count()
    }
}

/// A response, and whether enough replicas have acknowledged the write.
struct Acknowledged<T> {
    response: T,
    is_acked: bool,
}

fn too_many_redirects() -> Failure {
    Failure::Away("too many redirections within the Redis Cluster".into())
}
