//! Revocations of users' tokens in memory.

use dashmap::DashMap;
use jiff::Timestamp;

use crate::domain::caller::Caller;
use crate::domain::digest::ShortDigest;
use crate::domain::lifetime::Lifetime;
use crate::store::{Access, AppendError, CreateError, DeleteError, PatchError, ReadError};

/// By user: the earliest time of issue of a valid token, in seconds since 1970.
#[derive(Default)]
pub(super) struct Revocations {
    // Each shard has a lock of its own. It may be locked while a session's shard is, never the
    // other way round.
    not_before: DashMap<ShortDigest, i64>,
}

/// The caller's token was revoked.
pub(super) struct Revoked;

impl Revocations {
    /// The later one counts.
    pub(super) fn add(&self, owner: ShortDigest, not_before: i64) {
        let mut known = self.not_before.entry(owner).or_insert(not_before);
        *known = not_before.max(*known);
    }

    pub(super) fn not_before(&self, owner: ShortDigest) -> i64 {
        self.not_before.get(&owner).map_or(0, |not_before| *not_before)
    }

    /// Whether the caller may use a session of this owner.
    pub(super) fn check(&self, owner: Caller, access: Access) -> Result<(), Revoked> {
        match owner {
            Caller::Subject(owner) if access.issued_at.is_before(self.not_before(owner)) => {
                Err(Revoked)
            }
            _ => Ok(()),
        }
    }

    /// Forgets revocations that are older than any session and token.
    pub(super) fn remove_before(&self, now: Timestamp, lifetime: Lifetime) {
        let oldest =
            now.checked_sub(lifetime.absolute).unwrap_or(Timestamp::MIN).as_second() - 3600;
        self.not_before.retain(|_, not_before| *not_before >= oldest);
    }
}

macro_rules! is_error_of {
    ($($error:ident)*) => {
        $(impl From<Revoked> for $error {
            fn from(Revoked: Revoked) -> Self {
                Self::Revoked
            }
        })*
    };
}

is_error_of!(CreateError ReadError AppendError PatchError DeleteError);
