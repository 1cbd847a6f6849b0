//! The session stores: one trait with several implementations. `tests/it/behaviour.rs` specifies
//! what all have in common.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use proto_contracts::{AffinityKey, SessionDigest};

use crate::domain::caller::{Caller, Credentials, IssuedAt};
use crate::domain::client_data::{ClientData, InvalidClientData, MergePatch};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::owned::{OwnedEntry, OwnedSession};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::Expected;
use crate::domain::tickets::TicketUse;
use crate::store::changes::Changes;

pub mod changes;
mod failpoints;
pub mod hybrid;
pub mod memory;
pub mod owned;
pub mod redis;

/// A session store. It identifies sessions by their digests, so that it cannot leak their ids.
///
/// Each write is one atomic step: it checks that the session exists, changes it and increments its
/// version. A rejected write changes nothing. Every operation on a session resets its idle time,
/// reads and rejected writes included. A session that the caller may not use is reported as not
/// found, and its idle time is not reset.
///
/// A keyed write is applied once: the same step looks up its key, before it checks anything else
/// but the session. A repetition gets the first result; see [`keyed`](crate::domain::keyed) for how
/// long.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Reserves the id of a session to be created with an idempotency key, in one atomic step.
    /// Returns the id reserved under this name: this one, or that of an earlier request. The
    /// session need not exist yet.
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault>;

    /// Creates a session at version 1 with its first messages, owned by the caller. If the caller
    /// is a user, the session is added to the index of that user's sessions *before* it exists.
    async fn create_from(
        &self,
        access: Access,
        new: NewSession,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError>;

    /// The same without messages.
    async fn create(
        &self,
        access: Access,
        client_data: ClientData,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        self.create_from(access, client_data.into(), keyed).await
    }

    /// The current session, if this instance can serve it from memory without I/O.
    fn peek(&self, access: Access) -> Option<Served<Session>> {
        let _ = access;
        None
    }

    /// The current session.
    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError>;

    /// Appends a message to a session in an expected state. A repetition returns the id of the
    /// first request's message.
    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError>;

    /// The same without a precondition.
    async fn append(
        &self,
        access: Access,
        message: NewMessage,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        self.append_if(access, message, &Expected::Any, keyed).await
    }

    /// Patches the client data of a session in an expected state.
    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError>;

    /// Whether [`adopt`](Self::adopt) can give a session this new digest.
    fn can_rename(&self, from: SessionDigest, to: SessionDigest) -> bool {
        let _ = (from, to);
        true
    }

    /// Gives a session without owner, in an expected state, to the caller under a new id, in one
    /// atomic step; the API calls it a claim. The old id ends as by a delete. For as long as its
    /// tombstone lasts, a repetition by the same caller returns the same new id.
    async fn adopt(
        &self,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError>;

    /// Deletes a session in an expected state, with its messages. A tombstone stays for the longest
    /// lifetime of a session, so that no late write recreates the session. Until it expires,
    /// repeated deletes succeed whatever the precondition, as their effect is already there (RFC
    /// 9110, section 13.1.1).
    async fn delete_if(
        &self,
        access: Access,
        expected: &Expected,
    ) -> Result<Served<()>, DeleteError>;

    /// The same without a precondition.
    async fn delete(&self, access: Access) -> Result<Served<()>, DeleteError> {
        self.delete_if(access, &Expected::Any).await
    }

    /// A page of the messages after or before a position, oldest first.
    async fn history(
        &self,
        access: Access,
        at: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError>;

    /// The index of a user's sessions, newest first. Each live session of the user is in it; an
    /// entry's session may have ended, or may not exist yet.
    async fn owned(&self, owner: ShortDigest) -> Result<Vec<OwnedEntry>, StoreFault>;

    /// The live sessions among these entries of the user's index, in their order. Does not reset
    /// their idle time.
    async fn look(
        &self,
        owner: ShortDigest,
        entries: &[OwnedEntry],
    ) -> Result<Vec<OwnedSession>, StoreFault>;

    /// Revokes the tokens of a user that were issued before this second (`not_before`), or before a
    /// later one that was stored earlier. When it returns, no instance accepts such a token for a
    /// session of the user, and live connections opened by it end.
    async fn revoke(&self, owner: ShortDigest, not_before: i64) -> Result<(), StoreFault>;

    /// The earliest second of a valid token of this user; 0 when none was revoked.
    async fn not_before(&self, owner: ShortDigest) -> Result<i64, StoreFault>;

    /// Records for `ttl` that a ticket is in use by an open connection.
    async fn record_ticket_use(&self, ticket: TicketUse, ttl: Duration) -> Result<(), StoreFault>;

    /// Whether any instance has recorded a use that has not expired.
    async fn is_ticket_in_use(&self, ticket: TicketUse) -> Result<bool, StoreFault>;

    /// Subscribes to changes of a session by any instance, from the return of this call on.
    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault>;

    /// Releases what other instances would wait for. The store must not be used afterwards. It
    /// opens new connections, since the runtimes of the existing ones may have ended.
    async fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }

    /// The approximate number of live sessions that this instance serves.
    fn live_sessions(&self) -> u64;

    /// The number of sessions with a copy in this instance's memory.
    fn hot_sessions(&self) -> u64 {
        0
    }
}

/// A session, its caller, and the routing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub session: SessionDigest,
    /// The key that routes to the session's home.
    pub affinity: AffinityKey,
    pub caller: Caller,
    pub issued_at: IssuedAt,
    pub routing: Routing,
}

impl Access {
    /// The caller, with the age of its token.
    pub const fn credentials(&self) -> Credentials {
        Credentials { caller: self.caller, issued_at: self.issued_at }
    }
}

/// How the gateway routed a request to this instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// To any instance: the next request may go elsewhere.
    #[default]
    RoundRobin,
    /// To the session's home, or its failover: the next request will come here, too.
    Sticky,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    pub value: T,
    pub source: Source,
    pub outcome: WriteOutcome,
}

/// Whether a request applied its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// This request applied it.
    Applied,
    /// An earlier request with the same key applied it; this is its result.
    Replayed,
}

/// The result of a read or a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<T> {
    pub value: T,
    pub source: Source,
}

/// The source of the session's state, as in `X-Session-Source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This instance's memory.
    Memory,
    /// This instance's memory, not verified since Redis is away.
    Unverified,
    Redis,
    /// This request created it, or the one that this request repeats.
    Created,
}

impl Source {
    /// The value of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "memory; unverified",
            other => other.label(),
        }
    }

    /// The value of metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Unverified => "unverified",
            Self::Redis => "redis",
            Self::Created => "created",
        }
    }
}

/// Why a session was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Another session has the same digest.
    #[error("a session with this digest exists already")]
    Exists,
    #[error("the session was deleted")]
    Deleted,
    /// The caller has the maximum number of sessions.
    #[error("the user has too many sessions")]
    TooMany,
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The session is the caller's, but the caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It never existed, has expired or was deleted, or the caller may not use it.
    #[error("there is no such session")]
    NotFound,
    /// The session is the caller's, but the caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a message was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It never existed, has expired or was deleted, or the caller may not use it.
    #[error("there is no such session")]
    NotFound,
    /// The session has the maximum number of messages.
    #[error("the session is full")]
    Full,
    /// The session is not in an expected state.
    #[error("the precondition failed")]
    PreconditionFailed,
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The session is the caller's, but the caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why client data was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// It never existed, has expired or was deleted, or the caller may not use it.
    #[error("there is no such session")]
    NotFound,
    /// The patched data would be invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidClientData),
    /// Concurrent writes changed the data in each attempt.
    #[error("too many concurrent changes of the session's data")]
    Contended,
    /// The session is not in an expected state.
    #[error("the precondition failed")]
    PreconditionFailed,
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The session is the caller's, but the caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// The new id of a session that is to be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub session: SessionDigest,
    /// The id itself, for repetitions.
    pub sealed: SealedId,
}

/// The result of an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The session has this id now.
    Under(SealedId),
    /// The session was the caller's already, under its present id.
    Already,
}

/// Why a session was not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It never existed, has expired or was deleted, or is another's.
    #[error("there is no such session")]
    NotFound,
    /// The session is not in an expected state.
    #[error("the precondition failed")]
    PreconditionFailed,
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The caller has the maximum number of sessions.
    #[error("the user has too many sessions")]
    TooMany,
    /// The caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a session was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// It never existed, has expired, its tombstone has expired, or the caller may not use it.
    #[error("there is no such session")]
    NotFound,
    /// The session is not in an expected state.
    #[error("the precondition failed")]
    PreconditionFailed,
    /// The session is the caller's, but the caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// What the instance failed to release at its stop.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Other instances wait until the lease expires.
    #[error("lease not released; other instances wait until it expires")]
    Lease(#[source] StoreFault),
    /// Sessions that were just read from memory may expire too early.
    #[error("the last reads from memory were not recorded in Redis")]
    Touches(#[source] StoreFault),
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The request did not reach the store, or was rejected: nothing was changed.
    #[error("the session store is unavailable; nothing was changed")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The request was sent and got no response: a write may have been applied, or may still be.
    #[error("the session store did not respond; the outcome is unknown")]
    NoResponse(#[source] Box<dyn Error + Send + Sync>),
    /// The write was applied, but what must precede the response did not happen in time. Another
    /// instance still has a copy of the session, or replicas lack the write.
    #[error("the session store did not complete the write; the outcome is unknown")]
    Unfinished(#[source] Box<dyn Error + Send + Sync>),
    /// The store holds a record that this program did not write.
    #[error("the session store holds a damaged record")]
    Damaged(#[source] Box<dyn Error + Send + Sync>),
}
