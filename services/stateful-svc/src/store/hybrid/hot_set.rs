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
