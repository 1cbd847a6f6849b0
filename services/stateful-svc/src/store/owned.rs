//! The list of a user's sessions, and their end, by the operations of a store.

use futures_util::{StreamExt as _, stream};

use super::{Access, DeleteError, Routing, SessionStore, StoreFault};
use crate::domain::caller::{Caller, IssuedAt};
use crate::domain::digest::ShortDigest;
use crate::domain::owned::{OwnedCursor, OwnedEntry, OwnedPageSize, OwnedSession};

/// How many sessions of a user are ended at once. Each may wait for an instance to drop its copy.
const ENDED_AT_ONCE: usize = 8;

/// One page of a user's live sessions, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPage {
    pub sessions: Vec<OwnedSession>,
    /// The start of the next page, if there may be one.
    pub next: Option<OwnedCursor>,
}

/// The user's live sessions after this position.
///
/// # Errors
/// When the store is unavailable.
pub async fn list(
    store: &dyn SessionStore,
    owner: ShortDigest,
    after: Option<OwnedCursor>,
    size: OwnedPageSize,
) -> Result<OwnedPage, StoreFault> {
    let entries = store.owned(owner).await?;
    let start = match after {
        Some(after) => entries.partition_point(|entry| !after.is_before(entry)),
        None => 0,
    };
    let (mut sessions, mut rest) = (Vec::new(), &entries[start..]);
    // Each round reads as many records as the page still has room for.
    while sessions.len() < size.sessions() && !rest.is_empty() {
        let (looked_at, further) = rest.split_at(rest.len().min(size.sessions() - sessions.len()));
        sessions.append(&mut store.look(owner, looked_at).await?);
        rest = further;
    }
    let last = entries.len().checked_sub(rest.len() + 1).filter(|_| !rest.is_empty());
    Ok(OwnedPage { sessions, next: last.map(|last| entries[last].position()) })
}

/// Ends all sessions that the user has now, as by single deletes. Returns how many it ended.
///
/// # Errors
/// When one of them could not be ended; the others are ended. A repetition ends the rest.
pub async fn end_all(store: &dyn SessionStore, owner: ShortDigest) -> Result<u64, StoreFault> {
    let entries = store.owned(owner).await?;
    let ends = entries.iter().map(|entry| end(store, owner, entry));
    let ended = stream::iter(ends).buffer_unordered(ENDED_AT_ONCE).collect::<Vec<_>>().await;
    ended.into_iter().try_fold(0, |count, ended| Ok(count + u64::from(ended?)))
}

/// Ends one session of the user; `false` when the user has no such session.
///
/// # Errors
/// When the store is unavailable; a repetition does no harm.
pub async fn end(
    store: &dyn SessionStore,
    owner: ShortDigest,
    entry: &OwnedEntry,
) -> Result<bool, StoreFault> {
    let access = Access {
        session: entry.session,
        affinity: entry.affinity,
        caller: Caller::Subject(owner),
        // Checked by the handler.
        issued_at: IssuedAt::NEVER_REVOKED,
        // The request was not routed by this session.
        routing: Routing::RoundRobin,
    };
    match store.delete(access).await {
        Ok(_) => Ok(true),
        Err(DeleteError::NotFound | DeleteError::PreconditionFailed | DeleteError::Revoked) => {
            Ok(false)
        }
        Err(DeleteError::Store(fault)) => Err(fault),
    }
}
