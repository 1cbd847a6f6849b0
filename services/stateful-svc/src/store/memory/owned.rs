//! The index of each user's sessions in memory.

use std::collections::HashMap;

use dashmap::DashMap;
use jiff::Timestamp;
use proto_contracts::stateful::MAX_OWNED_SESSIONS;
use proto_contracts::{AffinityKey, SessionDigest};

use crate::domain::digest::ShortDigest;
use crate::domain::owned::OwnedEntry;
use crate::store::Access;

/// By owner: the sessions, each with its affinity key and the time of its creation.
#[derive(Default)]
pub(super) struct OwnedIndex {
    // Each shard has a lock of its own, which is never held while a session's shard is locked.
    owners: DashMap<ShortDigest, HashMap<SessionDigest, (AffinityKey, Timestamp)>>,
}

impl OwnedIndex {
    /// Adds a session; `false` when the index is full.
    pub(super) fn add(&self, owner: ShortDigest, access: Access, now: Timestamp) -> bool {
        let mut sessions = self.owners.entry(owner).or_default();
        if sessions.len() >= MAX_OWNED_SESSIONS && !sessions.contains_key(&access.session) {
            return false;
        }
        sessions.insert(access.session, (access.affinity, now));
        true
    }

    pub(super) fn remove(&self, owner: ShortDigest, session: SessionDigest) {
        if let Some(mut sessions) = self.owners.get_mut(&owner) {
            sessions.remove(&session);
        }
    }

    /// The owner's entries, newest first.
    pub(super) fn entries(&self, owner: ShortDigest) -> Vec<OwnedEntry> {
        let Some(sessions) = self.owners.get(&owner) else { return Vec::new() };
        let entry = |(session, (affinity, added_at)): (&_, &(_, _))| OwnedEntry {
            session: *session,
            affinity: *affinity,
            added_at: *added_at,
        };
        let mut entries = sessions.iter().map(entry).collect::<Vec<_>>();
        drop(sessions);
        OwnedEntry::sort(&mut entries);
        entries
    }

    /// All owners.
    pub(super) fn owners(&self) -> Vec<ShortDigest> {
        self.owners.iter().map(|owner| *owner.key()).collect()
    }

    /// Forgets owners without sessions.
    pub(super) fn remove_empty(&self) {
        self.owners.retain(|_, sessions| !sessions.is_empty());
    }
}
