//! Where sessions are kept. One trait; what every store must do alike is written down in `tests/it/behaviour.rs`.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use proto_contracts::SessionDigest;

use crate::domain::caller::Caller;
use crate::domain::client_data::{ClientData, InvalidClientData, MergePatch};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::Session;
use crate::domain::session_ids::SealedId;
use crate::domain::session_tag::Expected;
use crate::domain::tickets::TicketUse;
use crate::store::changes::Changes;

mod broken;
pub mod changes;
pub mod hybrid;
pub mod memory;
pub mod redis;

/// A place for sessions. It knows them by their digests, so that it cannot tell anybody their ids.
///
/// Each write is one atomic step: it checks that the session exists, changes it and raises its version by one. A write that
/// is refused changes nothing. Every act on a session starts its idle time anew, reads and refused writes included. A session
/// that the caller may not use is not found, and its idle time runs on.
///
/// A write that is keyed is done once: the same step looks for its key, before it looks at anything else but the session.
/// Who repeats it gets the first answer; see [`keyed`](crate::domain::keyed) for how long.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Reserves the id of a session that is created under a key, in one atomic step, and returns the one that is
    /// reserved under this name: this one, or that of an earlier request. The session need not exist yet.
    async fn reserve_id(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault>;

    /// Starts a session at version 1, which then belongs to the caller.
    async fn create(
        &self,
        access: Access,
        client_data: ClientData,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError>;

    /// The session as it is now, when this instance can tell without asking anybody. A store that must ask never can.
    fn at_hand(&self, access: Access) -> Option<Served<Session>> {
        let _ = access;
        None
    }

    /// The session as it is now.
    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError>;

    /// Adds a message after all others, to a session that is in an expected state. The id of a message that was taken before
    /// is the one that it had then.
    async fn append_if(
        &self,
        access: Access,
        message: NewMessage,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError>;

    /// The same, whatever state the session is in.
    async fn append(
        &self,
        access: Access,
        message: NewMessage,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        self.append_if(access, message, &Expected::Any, keyed).await
    }

    /// Changes the client data of a session that is in an expected state.
    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError>;

    /// Ends a session that is in an expected state, and forgets what was said. A tombstone stays for as long as a session may
    /// live at most, so that no late write brings the session back. Until it goes, deleting again succeeds whatever was
    /// expected: what the request asks for is so already (RFC 9110, section 13.1.1).
    async fn delete_if(&self, access: Access, expected: &Expected) -> Result<Served<()>, DeleteError>;

    /// The same, whatever state the session is in.
    async fn delete(&self, access: Access) -> Result<Served<()>, DeleteError> {
        self.delete_if(access, &Expected::Any).await
    }

    /// The messages after a place.
    async fn history(&self, access: Access, after: Cursor, size: PageSize) -> Result<Served<HistoryPage>, ReadError>;

    /// Notes for a while that a ticket keeps a connection open.
    async fn note_ticket(&self, ticket: TicketUse, lasts: Duration) -> Result<(), StoreFault>;

    /// Whether that was noted, by whichever instance, and the while is not over.
    async fn is_ticket_noted(&self, ticket: TicketUse) -> Result<bool, StoreFault>;

    /// Waits for changes of a session, whichever instance makes them: of all that are made after this has returned.
    async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault>;

    /// Gives back what other instances would wait for. Nothing may be asked of the store any more, and nothing on its
    /// connections is used that was made before.
    async fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }

    /// About how many live sessions this instance serves.
    fn live_sessions(&self) -> u64;
}

/// A session, who asks for it, and how the request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Which session.
    pub session: SessionDigest,
    /// Who asks.
    pub caller: Caller,
    /// Why it came to this instance.
    pub routing: Routing,
}

/// By which of the gateway's code paths a request came to this instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// By no particular reason: the next one may go elsewhere.
    #[default]
    RoundRobin,
    /// Because this instance is the session's home, or stands in for it; the next one will come here, too.
    Sticky,
}

/// What a write made, and whether it was done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// The answer.
    pub value: T,
    /// Its origin.
    pub source: Source,
    /// When the write was done.
    pub done: Done,
}

/// When a write was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// With this request.
    Now,
    /// With an earlier request of the same key, whose answer this is.
    Before,
}

/// What a store answered, and where it took it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<T> {
    /// The answer.
    pub value: T,
    /// Its origin.
    pub source: Source,
}

/// Where the session's state came from, as `X-Session-Source` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This instance's memory.
    Memory,
    /// This instance's memory, while Redis could not be asked whether it is still so.
    Unverified,
    /// Redis.
    Redis,
    /// Nowhere: it was made with this request, or with the one that this repeats.
    Created,
}

impl Source {
    /// The source as it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "memory; unverified",
            other => other.label(),
        }
    }

    /// The source as it stands in metric labels.
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
    /// Another one has the same digest, which chance does not bring about.
    #[error("there is a session with this digest already")]
    Exists,
    /// The session was there and was deleted.
    #[error("the session was deleted")]
    Deleted,
    /// The key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a session, or its history, was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It never was, it expired, or it was deleted.
    #[error("there is no such session")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The session never was, it expired, or it was deleted.
    #[error("there is no such session")]
    NotFound,
    /// The session holds the most messages that it may.
    #[error("the session is full")]
    Full,
    /// The session is not in an expected state.
    #[error("the session was changed meanwhile")]
    Overtaken,
    /// The key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why client data was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The session never was, it expired, or it was deleted.
    #[error("there is no such session")]
    NotFound,
    /// The patched data would not be client data.
    #[error(transparent)]
    Invalid(#[from] InvalidClientData),
    /// Others kept changing the data in between.
    #[error("others kept changing the session's data")]
    Contended,
    /// The session is not in an expected state.
    #[error("the session was changed meanwhile")]
    Overtaken,
    /// The key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Why a session was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// It never was, it expired, or it was deleted so long ago that its tombstone is gone.
    #[error("there is no such session")]
    NotFound,
    /// The session is not in an expected state.
    #[error("the session was changed meanwhile")]
    Overtaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// What was not given back when the instance stopped.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Other instances wait until it has run out.
    #[error("the lease was not given back; others wait until it has run out")]
    Lease(#[source] StoreFault),
    /// Sessions that were just read from memory end as if those reads had not been.
    #[error("Redis does not know of the last reads from memory")]
    Uses(#[source] StoreFault),
}

/// The store cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The request did not reach it, or it refused: nothing was changed.
    #[error("the session store is unavailable; nothing was changed")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The request was sent and no answer came: a write may have been done, or may yet be.
    #[error("the session store did not answer; the outcome is unknown")]
    NoAnswer(#[source] Box<dyn Error + Send + Sync>),
    /// It did what was asked, and what must come before anybody is told did not happen in time: another instance still has a
    /// copy of the session, or replicas lack the write.
    #[error("the session store did not finish; the outcome is unknown")]
    Unfinished(#[source] Box<dyn Error + Send + Sync>),
    /// It holds something that this program did not write.
    #[error("the session store holds a damaged record")]
    Damaged(#[source] Box<dyn Error + Send + Sync>),
}
