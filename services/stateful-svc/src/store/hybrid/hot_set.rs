//! The sessions that this instance holds in memory under one lease.
//!
//! A session's slot is *hot* or *being filled*. Each act that may leave a copy draws a ticket and makes the slot its own; what
//! was there is not served any more. It may fill the slot only if it is still its own: a later act takes it away, and so
//! does a request to drop. Whatever is done to a slot is done under the cache's lock for its key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use proto_contracts::SessionDigest;

use super::copy::Copy;
use crate::store::broken::{Guarantee, is_broken};

/// A slot that is being filled, as far as it holds no last copy.
const EMPTY_SLOT_BYTES: usize = 400;

/// Slots by session, weighed in bytes.
pub(super) struct HotSet {
    slots: Cache<SessionDigest, Slot>,
    // Counts up under the lock of the key that a ticket is drawn for. So who has emptied a slot knows, from the count at
    // that time, of all acts before.
    tickets: AtomicU64,
}

#[derive(Clone)]
enum Slot {
    Hot(Arc<Copy>),
    /// `last` is what was hot before: good for nothing but for telling it, as unverified, when Redis is away.
    Filling {
        ticket: u64,
        last: Option<Arc<Copy>>,
    },
}

/// What an act gets that makes a slot its own.
pub(super) struct Begun {
    pub(super) ticket: u64,
    /// What was in the slot.
    pub(super) last: Option<Arc<Copy>>,
}

impl HotSet {
    /// An empty set of at most this weight, which forgets what is not used for `idle`.
    pub(super) fn new(max_bytes: u64, idle: Duration) -> Self {
        // moka panics on more than a thousand years.
        let idle = idle.min(Duration::from_hours(24 * 365));
        let slots = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, slot: &Slot| u32::try_from(slot.bytes()).unwrap_or(u32::MAX))
            .time_to_idle(idle)
            .build();
        Self { slots, tickets: AtomicU64::new(0) }
    }

    /// The copy, if there is one that may be served. Takes no lock.
    pub(super) fn hot(&self, session: SessionDigest) -> Option<Arc<Copy>> {
        match self.slots.get(&session)? {
            Slot::Hot(copy) => Some(copy),
            Slot::Filling { .. } => None,
        }
    }

    /// Whether there is anything of the session.
    pub(super) fn has(&self, session: SessionDigest) -> bool {
        self.slots.contains_key(&session)
    }

    /// Makes the slot an act's own. From now on, nothing is served of what was there.
    pub(super) fn begin(&self, session: SessionDigest) -> Begun {
        let mut begun = Begun { ticket: 0, last: None };
        self.slots.entry(session).and_compute_with(|slot| {
            begun.ticket = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
            begun.last = slot.and_then(|slot| slot.into_value().last());
            Op::Put(Slot::Filling { ticket: begun.ticket, last: begun.last.clone() })
        });
        begun
    }

    /// Fills the slot, if it is still the act's own.
    pub(super) fn fill(&self, session: SessionDigest, ticket: u64, copy: Copy) {
        self.end(session, ticket, Op::Put(Slot::Hot(Arc::new(copy))));
    }

    /// Gives the slot back, if it is still the act's own.
    pub(super) fn give_up(&self, session: SessionDigest, ticket: u64) {
        self.end(session, ticket, Op::Remove);
    }

    fn end(&self, session: SessionDigest, ticket: u64, op: Op<Slot>) {
        self.slots.entry(session).and_compute_with(|slot| match slot.map(|slot| slot.into_value()) {
            Some(Slot::Filling { ticket: owner, .. }) if owner == ticket => op,
            _ => Op::Nop,
        });
    }

    /// Empties the slot. No act up to the ticket that is returned will fill it.
    pub(super) fn drop_copy(&self, session: SessionDigest) -> u64 {
        let mut newest = 0;
        self.slots.entry(session).and_compute_with(|_| {
            newest = self.tickets.load(Ordering::Relaxed);
            if is_broken(Guarantee::Drop) { Op::Nop } else { Op::Remove }
        });
        newest
    }

    /// How many slots there are, and what they weigh in bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        self.slots.run_pending_tasks();
        (self.slots.entry_count(), self.slots.weighted_size())
    }
}

impl Slot {
    fn last(self) -> Option<Arc<Copy>> {
        match self {
            Self::Hot(copy) => Some(copy),
            Self::Filling { last, .. } => last,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Hot(copy) | Self::Filling { last: Some(copy), .. } => copy.bytes(),
            Self::Filling { last: None, .. } => EMPTY_SLOT_BYTES,
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

    fn copy(version: u64, data_bytes: usize) -> Copy {
        let json = format!("{{\"a\":\"{}\"}}", "x".repeat(data_bytes));
        let session = Session {
            client_data: ClientData::parse(&RawValue::from_string(json).expect("JSON")).expect("client data"),
            created_at: Timestamp::UNIX_EPOCH,
            last_activity: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::from_second(100).expect("in range"),
            message_count: 0,
            version,
            nonce: WriteNonce::random(),
        };
        Copy::new(session, Caller::Anonymous, Stamp { now: 0, held: true, is_owned: false }, Duration::ZERO)
    }

    fn hot_version(set: &HotSet, session: SessionDigest) -> Option<u64> {
        set.hot(session).map(|copy| copy.session().version)
    }

    #[test]
    fn a_slot_is_filled_by_the_act_whose_own_it_is() {
        let (set, id) = (HotSet::new(1 << 20, Duration::from_secs(60)), any_session());
        let first = set.begin(id);
        let second = set.begin(id);
        assert!(second.ticket > first.ticket && set.has(id));
        set.fill(id, first.ticket, copy(1, 1));
        assert_eq!(hot_version(&set, id), None, "a later act has taken it");
        set.fill(id, second.ticket, copy(2, 1));
        assert_eq!(hot_version(&set, id), Some(2));

        let third = set.begin(id);
        assert_eq!(hot_version(&set, id), None, "an act has begun that may change it");
        assert_eq!(third.last.map(|last| last.session().version), Some(2));
        assert_eq!(set.begin(id).last.map(|last| last.session().version), Some(2));
        set.give_up(id, third.ticket);
        assert!(set.has(id), "it is not the third's any more");
    }

    #[test]
    fn a_request_to_drop_overtakes_fills_and_knows_of_all_before() {
        let (set, id) = (HotSet::new(1 << 20, Duration::from_secs(60)), any_session());
        let begun = set.begin(id);
        assert!(set.drop_copy(id) >= begun.ticket);
        set.fill(id, begun.ticket, copy(1, 1));
        assert!(!set.has(id));
        let newest = set.drop_copy(id);
        assert!(set.begin(id).ticket > newest);
    }

    #[test]
    fn the_budget_is_kept() {
        let set = HotSet::new(1 << 20, Duration::from_secs(60));
        for number in 0..500 {
            let id = any_session();
            let begun = set.begin(id);
            set.fill(id, begun.ticket, copy(1, 100 * (number % 100)));
        }
        let (sessions, bytes) = set.size();
        assert!(bytes <= 1 << 20 && sessions > 100, "{sessions} sessions of {bytes} bytes");
    }

    #[test]
    fn a_copy_is_shown_to_its_owner_and_not_after_its_end() {
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));
        let at = Duration::from_secs;
        let session = copy(1, 1).session().clone();
        // It was asked for at 50 s here, when it was 40 s in Redis, and ends at 100 s in Redis.
        let owned = Copy::new(session, ada, Stamp { now: 40_000, held: true, is_owned: true }, at(50));
        assert!(owned.show(ada, at(109), Duration::ZERO).is_some());
        assert!(owned.show(ada, at(110), Duration::ZERO).is_none());
        assert!(owned.show(ada, at(100), at(10)).is_none(), "it must live for longer than that");
        assert!(owned.show(bob, at(60), Duration::ZERO).is_none());
        owned.lives_until(150_000, 60_000, at(70));
        let shown = owned.show(ada, at(159), Duration::ZERO).expect("it lives on");
        assert_eq!(shown.expires_at, Timestamp::from_second(150).expect("in range"));
        owned.lives_until(90_000, 60_000, at(70));
        assert!(owned.show(ada, at(159), Duration::ZERO).is_some(), "Redis does not shorten a life");
    }
}
