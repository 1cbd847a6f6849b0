//! The index of each user's sessions.
//!
//! Index and records are on different nodes of a Cluster, so each change takes two steps. An entry
//! is added before its session is created: an interrupted create leaves an entry without a session,
//! and never a session without an entry. Readers skip such entries and remove them once no create
//! can still be under way; see `docs/adr/0025-a-users-sessions-are-indexed.md`.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use proto_contracts::stateful::MAX_OWNED_SESSIONS;
use proto_contracts::{AffinityKey, SessionDigest};
use service_kit::outage::RetryDeadline;

use super::fields::{damaged, millis, not_before_key, owned_key, record_key, time};
use super::{Acknowledged, RedisStore};
use crate::domain::digest::ShortDigest;
use crate::domain::owned::{OwnedEntry, OwnedSession};
use crate::store::{Access, StoreFault};

/// From this age on, the entry of a session that does not exist is removed. Longer than a create
/// takes, including its retries through an outage.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// How many records are read at once for one request.
const READS_AT_ONCE: usize = 8;

impl RedisStore {
    /// Adds the session to the index of its owner's sessions, and returns the owner's `not_before`;
    /// `None` when the owner has the maximum number of live sessions.
    pub(super) async fn add_owned(
        &self,
        owner: ShortDigest,
        access: Access,
    ) -> Result<Option<i64>, StoreFault> {
        if let Some(not_before) = self.add_entry(owner, access).await? {
            return Ok(Some(not_before));
        }
        // Each create of a user at the limit would otherwise read all of the user's records.
        if self.full_indexes.contains_key(&owner) {
            return Ok(None);
        }
        let entries = self.owned_entries(owner).await?;
        if self.look_at_all(owner, &entries).await?.len() == entries.len() {
            self.full_indexes.insert(owner, ());
            return Ok(None);
        }
        self.add_entry(owner, access).await
    }

    async fn add_entry(
        &self,
        owner: ShortDigest,
        access: Access,
    ) -> Result<Option<i64>, StoreFault> {
        let key = owned_key(owner);
        let ttl = self.lifetime.absolute + SETTLED_AFTER;
        let mut call = self.scripts.owned_add.prepare_invoke();
        call.key(&key)
            .key(not_before_key(owner))
            .arg(access.session.to_string())
            .arg(access.affinity.to_string())
            .arg(MAX_OWNED_SESSIONS)
            .arg(millis(ttl));
        let Acknowledged { response, is_acked } = self
            .send_with_retries::<Option<i64>>(&key, &mut call, self.acks, RetryDeadline::start())
            .await?;
        if !is_acked {
            let fault = "too few replicas have acknowledged the index of the user's sessions";
            return Err(self.logged(StoreFault::Unfinished(fault.into())));
        }
        Ok(response)
    }

    /// Removes an entry whose session has ended. A failure does no harm: readers skip the entry.
    pub(super) async fn remove_owned(&self, owner: ShortDigest, session: SessionDigest) {
        self.remove_entry(owner, session, "").await;
    }

    async fn remove_entry(&self, owner: ShortDigest, session: SessionDigest, value: &str) {
        self.full_indexes.invalidate(&owner);
        let key = owned_key(owner);
        let mut call = self.scripts.owned_remove.prepare_invoke();
        call.key(&key).arg(session.to_string()).arg(value);
        if let Err(failure) = self.send::<u8>(&key, &call, None).await {
            tracing::debug!(%session, ?failure, "entry of an ended session not removed");
        }
    }

    /// All entries of an owner's index, newest first.
    pub(in crate::store) async fn owned_entries(
        &self,
        owner: ShortDigest,
    ) -> Result<Vec<OwnedEntry>, StoreFault> {
        let key = owned_key(owner);
        let deadline = RetryDeadline::start();
        let mut call = self.scripts.owned_list.prepare_invoke();
        call.key(&key);
        let Acknowledged { response, .. } = self
            .send_with_retries::<Vec<(String, String)>>(&key, &mut call, None, deadline)
            .await?;
        let entries = response.iter().map(|(session, value)| entry(session, value));
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        OwnedEntry::sort(&mut entries);
        Ok(entries)
    }

    /// The live sessions among these entries, in their order. Removes entries of ended sessions.
    pub(in crate::store) async fn look_at_all(
        &self,
        owner: ShortDigest,
        entries: &[OwnedEntry],
    ) -> Result<Vec<OwnedSession>, StoreFault> {
        let looked = stream::iter(entries.iter().copied())
            .map(|entry| self.look_at(owner, entry))
            .buffered(READS_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(looked.into_iter().flatten().collect())
    }

    async fn look_at(
        &self,
        owner: ShortDigest,
        entry: OwnedEntry,
    ) -> Result<Option<OwnedSession>, StoreFault> {
        let key = record_key(entry.session);
        let mut call = self.scripts.owned_look.prepare_invoke();
        call.key(&key).arg(millis(self.lifetime.absolute)).arg(owner.to_string());
        let Acknowledged { response, .. } = self
            .send_with_retries::<Vec<Option<i64>>>(&key, &mut call, None, RetryDeadline::start())
            .await?;
        let [now, rest @ ..] = response.as_slice() else { return Err(unexpected()) };
        let &[Some(created), Some(active), Some(count), Some(version), Some(expires)] = rest else {
            let added = entry.added_at.as_millisecond();
            let settled = i64::try_from(millis(SETTLED_AFTER)).unwrap_or(i64::MAX);
            if now.is_some_and(|now| now - added > settled) {
                self.remove_entry(owner, entry.session, &value(&entry)).await;
            }
            return Ok(None);
        };
        Ok(Some(OwnedSession {
            entry,
            created_at: time(created)?,
            last_activity: time(active)?,
            expires_at: time(expires)?,
            message_count: u64::try_from(count).map_err(damaged)?,
            version: u64::try_from(version).map_err(damaged)?,
        }))
    }
}

/// The entry of this field and value of an index.
fn entry(session: &str, value: &str) -> Result<OwnedEntry, StoreFault> {
    let session = SessionDigest::parse_bytes(session.as_bytes()).ok_or_else(unexpected)?;
    let (added, affinity) = value.split_once(':').ok_or_else(unexpected)?;
    let affinity = AffinityKey::parse_bytes(affinity.as_bytes()).ok_or_else(unexpected)?;
    let added_at = Timestamp::from_millisecond(added.parse().map_err(damaged)?).map_err(damaged)?;
    Ok(OwnedEntry { session, affinity, added_at })
}

fn value(entry: &OwnedEntry) -> String {
    format!("{}:{}", entry.added_at.as_millisecond(), entry.affinity)
}

fn unexpected() -> StoreFault {
    StoreFault::Damaged("the index of a user's sessions has a malformed entry".into())
}
