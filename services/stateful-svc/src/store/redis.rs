//! Sessions in Redis: any instance serves any session, and each act is one round trip.
//!
//! Each act is one script (`redis/*.lua`), so that it is atomic; only a patch takes two, of which the second checks that
//! nothing came between. See `docs/adr/0003-session-writes-are-single-scripts.md`.
//!
//! The hybrid store stands on this one. Instances with either store can share a Redis: who writes to a session waits until
//! no copy of it is left in anybody's memory (`handover`), which costs nothing where nobody keeps any.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use proto_contracts::SessionDigest;
use redis::{Cmd, FromRedisValue, RedisError, Script, ScriptInvocation};
use service_kit::outage::{Outage, RetryDeadline};
use service_kit::redis::{Acks, Pooled, RedisPool, RedisTarget};
use service_kit::telemetry::chain;

use super::{
    Access, AppendError, CreateError, DeleteError, PatchError, ReadError, Served, SessionStore, StoreFault, Written,
};
use crate::domain::client_data::{ClientData, MergePatch};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::lifetime::Lifetime;
use crate::domain::live_sessions::LiveSessions;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::Session;
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::domain::tickets::TicketUse;
use crate::store::changes::Changes;

mod acts;
mod announcements;
pub(super) mod claim;
mod entry;
mod failure;
mod fields;
pub(super) mod handover;
pub(super) mod leases;
mod lost;
mod reservations;
mod scripts;

use announcements::Announcements;
use claim::{Claim, LeaseId, Stamp, Stamped};
use failure::Failure;
use fields::{caller_field, millis};
use handover::Handovers;
use lost::Lost;
use scripts::{Answer, Reply, Scripts};

/// How often a command may be sent on to another server of a cluster, which said that it had not done it.
const MOST_HOPS: usize = 5;

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
    drop_here: Box<DropHere>,
}

/// What an act does when Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenAway {
    /// It waits for the first seconds of the outage.
    Wait,
    /// It fails at once, for its caller has something else to say.
    Fail,
}

impl WhenAway {
    fn deadline(self) -> RetryDeadline {
        match self {
            Self::Wait => RetryDeadline::start(),
            Self::Fail => RetryDeadline::none(),
        }
    }
}

/// Drops a copy that this process holds under a lease. Tells the newest ticket whose copy is gone; `None` when the lease is
/// not one of this process.
pub(super) type DropHere = dyn Fn(LeaseId, SessionDigest) -> Option<u64> + Send + Sync;

impl RedisStore {
    /// A store on this Redis, which need not be there yet, with a pool of connections to it. Must be called within a Tokio
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
            drop_here: Box::new(|_, _| None),
        }
    }

    /// The same store, whose writes count when replicas have them; `None`: as soon as the master has.
    pub fn acknowledged(self, acks: Option<Acks>) -> Self {
        Self { acks, ..self }
    }

    /// The same store, for a process that holds copies itself.
    pub(super) fn with_copies(self, drop_here: Box<DropHere>) -> Self {
        Self { drop_here, ..self }
    }

    /// A call of the script with what all scripts take first.
    fn call<'a>(&self, script: &'a Script, access: Access) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(fields::record_key(access.session)).key(fields::messages_key(access.session));
        call.arg(millis(self.lifetime.idle)).arg(millis(self.lifetime.absolute)).arg(caller_field(access.caller));
        call
    }

    /// Does an act and finishes the hand-overs that it began or met. Only then may anybody be told of it.
    async fn run<T: FromRedisValue, R: FromRedisValue>(
        &self,
        access: Access,
        mut call: ScriptInvocation<'_>,
        claim: Claim,
        when_away: WhenAway,
    ) -> Result<Stamped<Reply<T, R>>, StoreFault> {
        let (word, lease, ticket) = claim.fields();
        call.arg(word).arg(lease).arg(ticket);
        // Who only looks changes nothing but the expiry.
        let acks = self.acks.filter(|_| claim != Claim::Look);
        let key = fields::record_key(access.session);
        let Acknowledged { answer, is_acked } =
            self.send_patiently(&key, &mut call, acks, when_away.deadline()).await?;
        let Answer { now, held, is_owned, drops, reply } = answer;
        let reply = reply.ok_or_else(|| StoreFault::NoAnswer("others have changed the session since".into()))?;
        if !is_acked && claim.writes() {
            let fault = StoreFault::Unfinished("too few replicas have acknowledged the write".into());
            return Err(self.noted(fault));
        }
        // A failover could forget that we have a copy.
        let held = held && is_acked;
        match &reply {
            Reply::Nil => {
                self.live.ended(access.session);
                self.look_for(access.session).await;
            }
            Reply::Refused | Reply::KeyReused | Reply::Overtaken | Reply::Done(_) | Reply::Replayed(_) => {
                self.live.used(access.session);
                self.lost.used(access.session);
            }
        }
        if !drops.is_empty() {
            self.finish_drops(access.session, drops).await?;
        }
        Ok(Stamp { now, held, is_owned }.on(reply))
    }

    /// A session that the caller does not have is another's, was deleted, has had its time, or was lost.
    async fn look_for(&self, session: SessionDigest) {
        if !self.lost.take_back(session) {
            return;
        }
        let record = fields::record_key(session);
        // Of another's session there is the record, of a deleted one the tombstone. No answer is no proof.
        if let Ok(false) = self.command(&record, redis::cmd("EXISTS").arg(&record)).await {
            self.lost.lost(session);
        }
    }

    /// Calls a script of an act, and again when Redis was away for a moment.
    ///
    /// It is called again only when it was not done, or when scripts find out whether it was: after the connection of an
    /// earlier attempt broke, they are told so. One that may still be done at any time is not.
    async fn send_patiently<T: FromRedisValue>(
        &self,
        key: &str,
        call: &mut ScriptInvocation<'_>,
        acks: Option<Acks>,
        deadline: RetryDeadline,
    ) -> Result<Acknowledged<T>, StoreFault> {
        let mut unknown = None;
        loop {
            self.outage.wait_until_recovered(deadline, || self.answers(key)).await;
            let failure = match self.send(key, call, acks).await {
                Ok(answer) => {
                    self.outage.responded();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let may_repeat = matches!(failure, Failure::Away(_) | Failure::Broken(_));
            let is_unknown = matches!(failure, Failure::Broken(_));
            let fault = self.noted(failure.into());
            if !may_repeat || !self.outage.is_worth_another_attempt(deadline).await {
                return Err(unknown.unwrap_or(fault));
            }
            if is_unknown && unknown.is_none() {
                call.arg("again");
                unknown = Some(fault);
            }
        }
    }

    /// Notes that the store did not do what it should, and hands the fault on.
    fn noted(&self, fault: StoreFault) -> StoreFault {
        let cause = || fault.source().map(chain).unwrap_or_default();
        match &fault {
            StoreFault::Unavailable(_) | StoreFault::NoAnswer(_) => self.outage.failed(cause),
            // Redis is there. Told as often as it happens, which is seldom.
            StoreFault::Unfinished(_) => tracing::warn!(cause = cause(), "{fault}"),
            // Not an outage, but a fault to be looked into: it is logged with its request.
            StoreFault::Damaged(_) => {}
        }
        fault
    }

    /// Whether the server that owns a key does its work.
    async fn answers(&self, key: &str) -> bool {
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
        for _ in 0..MOST_HOPS {
            if let Some(acks) = acks {
                connection.await_acks(acks);
            }
            match call.invoke_async(&mut *connection).await {
                Ok(answer) => return Ok(Acknowledged { answer, is_acked: connection.is_acked() }),
                Err(error) => connection = self.go_on(error).await?,
            }
        }
        Err(always_elsewhere())
    }

    /// The same for a single command.
    async fn command<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, Failure> {
        let mut connection = self.pool.owner_of(key).await?;
        for _ in 0..MOST_HOPS {
            match command.query_async(&mut *connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) => connection = self.go_on(error).await?,
            }
        }
        Err(always_elsewhere())
    }

    /// A connection to where the key is by the words of this error, if that is what it says.
    async fn go_on(&self, error: RedisError) -> Result<Pooled, Failure> {
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

    async fn create(
        &self,
        access: Access,
        client_data: ClientData,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        Ok(self.create_as(Claim::Write(None), access, client_data, keyed).await?.value)
    }

    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError> {
        Ok(self.read_as(Claim::Look, access, WhenAway::Wait).await?.value)
    }

    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        Ok(self.append_as(Claim::Write(None), access, message, WriteNonce::random(), expected, keyed).await?.value)
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

    async fn delete_if(&self, access: Access, expected: &Expected) -> Result<Served<()>, DeleteError> {
        self.delete_as(Claim::Write(None), access, expected).await
    }

    async fn history(&self, access: Access, after: Cursor, size: PageSize) -> Result<Served<HistoryPage>, ReadError> {
        self.look_at_history(access, after, size).await
    }

    async fn note_ticket(&self, ticket: TicketUse, lasts: Duration) -> Result<(), StoreFault> {
        let key = fields::ticket_key(ticket);
        let noted = redis::cmd("SET").arg(&key).arg(1).arg("PX").arg(millis(lasts)).to_owned();
        Ok(self.command(&key, &noted).await?)
    }

    async fn is_ticket_noted(&self, ticket: TicketUse) -> Result<bool, StoreFault> {
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

/// What came back, and whether as many replicas have what was written as should.
struct Acknowledged<T> {
    answer: T,
    is_acked: bool,
}

fn always_elsewhere() -> Failure {
    Failure::Away("each server of the cluster says that another one has the session".into())
}
