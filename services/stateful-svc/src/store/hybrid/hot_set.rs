//! The sessions that this instance holds in memory under one lease.
//!
//! An entry is *hot* or *pending*. Each operation that may leave a copy draws a fencing ticket and
//! reserves the entry; the previous copy is no longer served. It commits its copy only if the
//! reservation is still its own: a later operation replaces it, and a drop request removes it. Each
//! change of an entry happens under the cache's lock for its key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::ops::compute::Op;
use moka::sync::Cache;
use proto_contracts::SessionDigest;

use super::hot_copy::HotCopy;
use crate::store::failpoints::{Failpoint, is_active};

/// The size of a pending entry without a previous copy.
const EMPTY_ENTRY_BYTES: usize = 400;

/// Entries by session, weighed in bytes.
pub(super) struct HotSet {
    entries: Cache<SessionDigest, Entry, RandomState>,
    // Incremented under the lock of the key that a ticket is drawn for. So the count at the time of
    // a drop covers all earlier operations on that key.
    tickets: AtomicU64,
}

#[derive(Clone)]
enum Entry {
    Hot(Arc<HotCopy>),
    /// The previous copy is kept only to be served as unverified while Redis is away.
    Pending {
        ticket: u64,
        previous: Option<Arc<HotCopy>>,
    },
}

/// A reserved entry.
pub(super) struct Reservation {
    pub(super) ticket: u64,
    /// The copy that the entry held before.
    pub(super) previous: Option<Arc<HotCopy>>,
}

impl HotSet {
    /// An empty set of at most this size, which evicts entries unused for `idle`.
    pub(super) fn new(max_bytes: u64, idle: Duration) -> Self {
        // moka panics on more than a thousand years.
        let idle = idle.min(Duration::from_hours(24 * 365));
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Entry| u32::try_from(entry.bytes()).unwrap_or(u32::MAX))
            .time_to_idle(idle)
            .build_with_hasher(RandomState::default());
        Self { entries, tickets: AtomicU64::new(0) }
    }

    /// The copy, if there is one that may be served. Takes no lock.
    pub(super) fn hot(&self, session: SessionDigest) -> Option<Arc<HotCopy>> {
        match self.entries.get(&session)? {
            Entry::Hot(copy) => Some(copy),
            Entry::Pending { .. } => None,
        }
    }

    /// Whether the session has an entry, hot or pending.
    pub(super) fn has(&self, session: SessionDigest) -> bool {
        self.entries.contains_key(&session)
    }

    /// Reserves the entry for an operation. From now on the previous copy is not served.
    pub(super) fn reserve(&self, session: SessionDigest) -> Reservation {
        let mut reserved = Reservation { ticket: 0, previous: None };
        self.entries.entry(session).and_compute_with(|entry| {
            reserved.ticket = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
            reserved.previous = entry.and_then(|entry| entry.into_value().into_copy());
            Op::Put(Entry::Pending { ticket: reserved.ticket, previous: reserved.previous.clone() })
        });
        reserved
    }

    /// Stores the operation's copy, if its reservation still holds.
    pub(super) fn commit(&self, session: SessionDigest, ticket: u64, copy: HotCopy) {
        self.end(session, ticket, Op::Put(Entry::Hot(Arc::new(copy))));
    }

    /// Removes the entry, if the operation's reservation still holds.
    pub(super) fn abandon(&self, session: SessionDigest, ticket: u64) {
        self.end(session, ticket, Op::Remove);
    }

    fn end(&self, session: SessionDigest, ticket: u64, op: Op<Entry>) {
        self.entries.entry(session).and_compute_with(|entry| {
            match entry.map(|entry| entry.into_value()) {
                Some(Entry::Pending { ticket: owner, .. }) if owner == ticket => op,
                _ => Op::Nop,
            }
        });
    }

    /// Removes the entry. No operation up to the returned ticket can commit a copy any more.
    pub(super) fn drop_copy(&self, session: SessionDigest) -> u64 {
        let mut newest = 0;
        self.entries.entry(session).and_compute_with(|_| {
            newest = self.tickets.load(Ordering::Relaxed);
            if is_active(Failpoint::IgnoreDrops) { Op::Nop } else { Op::Remove }
        });
        newest
    }

    /// The number of entries and their size in bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

impl Entry {
    fn into_copy(self) -> Option<Arc<HotCopy>> {
        match self {
            Self::Hot(copy) => Some(copy),
            Self::Pending { previous, .. } => previous,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Hot(copy) | Self::Pending { previous: Some(copy), .. } => copy.bytes(),
            Self::Pending { previous: None, .. } => EMPTY_ENTRY_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proto_contracts::{AffinityKey, SessionId};
    use serde_json::value::RawValue;

    use super::*;
    use crate::domain::caller::Caller;
    use crate::domain::client_data::ClientData;
    use crate::domain::session::Session;
    use crate::domain::session_tag::WriteNonce;
    use crate::store::redis::claim::Stamp;

    fn any_session() -> SessionDigest {
        SessionId::generate(AffinityKey::random()).digest()
    }

    fn copy(version: u64, data_bytes: usize) -> HotCopy {
        let json = format!("{{\"a\":\"{}\"}}", "x".repeat(data_bytes));
        let session = Session {
            client_data: ClientData::parse(&RawValue::from_string(json).expect("JSON"))
                .expect("client data"),
            created_at: Timestamp::UNIX_EPOCH,
            last_activity: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::from_second(100).expect("in range"),
            message_count: 0,
            version,
            nonce: WriteNonce::random(),
        };
        HotCopy::new(
            session,
            Caller::Anonymous,
            Stamp { now: 0, held: true, is_owned: false, not_before: 0 },
            Duration::ZERO,
        )
    }

    fn hot_version(set: &HotSet, session: SessionDigest) -> Option<u64> {
        set.hot(session).map(|copy| copy.session().version)
    }

    #[test]
    fn only_the_last_reservation_can_commit() {
        let (set, id) = (HotSet::new(1 << 20, Duration::from_secs(60)), any_session());
        let first = set.reserve(id);
        let second = set.reserve(id);
        assert!(second.ticket > first.ticket && set.has(id));
        set.commit(id, first.ticket, copy(1, 1));
        assert_eq!(hot_version(&set, id), None, "a later operation has reserved it");
        set.commit(id, second.ticket, copy(2, 1));
        assert_eq!(hot_version(&set, id), Some(2));

        let third = set.reserve(id);
        assert_eq!(hot_version(&set, id), None, "an operation has begun that may change it");
        assert_eq!(third.previous.map(|copy| copy.session().version), Some(2));
        assert_eq!(set.reserve(id).previous.map(|copy| copy.session().version), Some(2));
        set.abandon(id, third.ticket);
        assert!(set.has(id), "the third's reservation is void");
    }

    #[test]
    fn a_drop_voids_reservations_and_covers_all_earlier_tickets() {
        let (set, id) = (HotSet::new(1 << 20, Duration::from_secs(60)), any_session());
        let reserved = set.reserve(id);
        assert!(set.drop_copy(id) >= reserved.ticket);
        set.commit(id, reserved.ticket, copy(1, 1));
        assert!(!set.has(id));
        let newest = set.drop_copy(id);
        assert!(set.reserve(id).ticket > newest);
    }

    #[test]
    fn the_size_limit_is_kept() {
        let set = HotSet::new(1 << 20, Duration::from_secs(60));
        for number in 0..500 {
            let id = any_session();
            let reserved = set.reserve(id);
            set.commit(id, reserved.ticket, copy(1, 100 * (number % 100)));
        }
        let (sessions, bytes) = set.size();
        assert!(bytes <= 1 << 20 && sessions > 100, "{sessions} sessions of {bytes} bytes");
    }

    #[test]
    fn a_copy_is_served_to_its_owner_until_its_expiry() {
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));
        let at = Duration::from_secs;
        let session = copy(1, 1).session().clone();
        // Requested at 50 s of this clock, when Redis's was at 40 s; it expires at 100 s of Redis's
        // clock.
        let owned = HotCopy::new(
            session,
            ada,
            Stamp { now: 40_000, held: true, is_owned: true, not_before: 0 },
            at(50),
        );
        assert!(owned.show(ada.into(), at(109), Duration::ZERO).is_some());
        assert!(owned.show(ada.into(), at(110), Duration::ZERO).is_none());
        assert!(
            owned.show(ada.into(), at(100), at(10)).is_none(),
            "it must live for longer than that"
        );
        assert!(owned.show(bob.into(), at(60), Duration::ZERO).is_none());
        owned.extend_expiry(150_000, 60_000, at(70));
        let shown = owned.show(ada.into(), at(159), Duration::ZERO).expect("extended");
        assert_eq!(shown.expires_at, Timestamp::from_second(150).expect("in range"));
        owned.extend_expiry(90_000, 60_000, at(70));
        assert!(
            owned.show(ada.into(), at(159), Duration::ZERO).is_some(),
            "an expiry is never shortened"
        );
    }
}
