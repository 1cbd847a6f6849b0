//! A session in this instance's memory.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::caller::Caller;
use crate::domain::session::Session;
use crate::store::redis::claim::Stamp;

/// What an entry of the hot set costs beside the client data: the copy, its slot, the cache's own book-keeping, and what the
/// allocator makes of it. Measured as what a process grows by with 100,000 sessions (`make bench args='--parts memory'`).
const OVERHEAD_BYTES: usize = 1000;

/// A session as it was when Redis was last asked.
#[derive(Debug)]
pub(super) struct Copy {
    owner: Caller,
    session: Session,
    /// When it ends as far as Redis has told: not before this. Milliseconds since 1970.
    ends: AtomicI64,
    /// The same by the instance's own clock, in nanoseconds; a little early rather than late.
    ends_here: AtomicU64,
    /// It was read since Redis was last told that it is in use.
    in_use: AtomicBool,
}

impl Copy {
    /// A copy of what an act left, which was sent at `sent` by the instance's own clock.
    pub(super) fn new(session: Session, caller: Caller, stamp: Stamp, sent: Duration) -> Self {
        let ends = session.expires_at.as_millisecond();
        let copy = Self {
            // Who may do an act on a session that has an owner is the owner.
            owner: if stamp.is_owned { caller } else { Caller::Anonymous },
            session,
            ends: AtomicI64::new(ends),
            ends_here: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
        };
        copy.lives_until(ends, stamp.now, sent);
        copy
    }

    /// Redis has said when it ends; it was asked at `sent` by the instance's own clock, and its own told `now`.
    pub(super) fn lives_until(&self, ends: i64, now: i64, sent: Duration) {
        // It was asked before it looked at its clock, so what is left there counts from a moment that is past here.
        let left = Duration::from_millis(u64::try_from(ends - now).unwrap_or(0));
        self.ends.fetch_max(ends, Ordering::Relaxed);
        self.ends_here.fetch_max(nanos(sent + left), Ordering::Relaxed);
    }

    /// The session, when this caller may see it and it lives for longer than this.
    pub(super) fn show(&self, caller: Caller, now: Duration, longer_than: Duration) -> Option<Session> {
        let lives = self.ends_here.load(Ordering::Relaxed) > nanos(now + longer_than);
        if !lives || !caller.may_use(self.owner) {
            return None;
        }
        let ends = Timestamp::from_millisecond(self.ends.load(Ordering::Relaxed)).ok()?;
        Some(Session { expires_at: ends, ..self.session.clone() })
    }

    /// The session as it was copied.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Notes that it was read; whether that is news for Redis.
    pub(super) fn note_use(&self) -> bool {
        // Most reads find it noted, and then write nothing that other cores would have to fetch.
        !self.in_use.load(Ordering::Relaxed) && !self.in_use.swap(true, Ordering::Relaxed)
    }

    /// Redis is about to be told.
    pub(super) fn forget_use(&self) {
        self.in_use.store(false, Ordering::Relaxed);
    }

    /// About what it takes of the budget.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.session.client_data.as_str().len()
    }
}

/// A time of the instance's own clock, which an atomic can hold: enough for 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
