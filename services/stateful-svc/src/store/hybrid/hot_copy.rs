//! The copy of a session in this instance's memory.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::caller::{Caller, Credentials};
use crate::domain::session::Session;
use crate::store::redis::claim::Stamp;

/// The cost of an entry of the hot set besides the client data: the copy, the cache's bookkeeping
/// and the allocator's overhead. Measured as the growth of a process by 100,000 sessions (`make
/// bench args='--parts memory'`).
const OVERHEAD_BYTES: usize = 1000;

/// A session as Redis last returned it.
#[derive(Debug)]
pub(super) struct HotCopy {
    owner: Caller,
    /// The earliest time of issue of a valid token of the owner, in seconds since 1970.
    not_before: i64,
    session: Session,
    /// The latest expiry that Redis has confirmed. Milliseconds since 1970.
    ends: AtomicI64,
    /// The same by the instance's clock, in nanoseconds; a little early rather than late.
    ends_here: AtomicU64,
    /// The session was read since its last touch in Redis.
    in_use: AtomicBool,
}

impl HotCopy {
    /// A copy of the session after an operation that was sent at `sent` by the instance's clock.
    pub(super) fn new(session: Session, caller: Caller, stamp: Stamp, sent: Duration) -> Self {
        let ends = session.expires_at.as_millisecond();
        let copy = Self {
            // Only its owner may use an owned session.
            owner: if stamp.is_owned { caller } else { Caller::Anonymous },
            not_before: stamp.not_before,
            session,
            ends: AtomicI64::new(ends),
            ends_here: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
        };
        copy.extend_expiry(ends, stamp.now, sent);
        copy
    }

    /// Extends the expiry by a response of Redis with its clock's `now`, to a request sent at
    /// `sent` by the instance's clock.
    pub(super) fn extend_expiry(&self, ends: i64, now: i64, sent: Duration) {
        // The request was sent before Redis read its clock, so counting from `sent` errs on the
        // early side.
        let left = Duration::from_millis(u64::try_from(ends - now).unwrap_or(0));
        self.ends.fetch_max(ends, Ordering::Relaxed);
        self.ends_here.fetch_max(nanos(sent + left), Ordering::Relaxed);
    }

    /// The session, if this caller may use it and it lives longer than this. For a revoked token
    /// there is none; Redis tells why.
    pub(super) fn show(
        &self,
        credentials: Credentials,
        now: Duration,
        longer_than: Duration,
    ) -> Option<Session> {
        let lives = self.ends_here.load(Ordering::Relaxed) > nanos(now + longer_than);
        let Credentials { caller, issued_at } = credentials;
        let is_revoked = self.owner != Caller::Anonymous && issued_at.is_before(self.not_before);
        if !lives || !caller.may_use(self.owner) || is_revoked {
            return None;
        }
        let ends = Timestamp::from_millisecond(self.ends.load(Ordering::Relaxed)).ok()?;
        Some(Session { expires_at: ends, ..self.session.clone() })
    }

    /// The session, with the expiry at the time of the copy.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Records a read; `true` for the first one since the last touch.
    pub(super) fn record_use(&self) -> bool {
        // Most reads find it set and write nothing, so the cache line stays shared between cores.
        !self.in_use.load(Ordering::Relaxed) && !self.in_use.swap(true, Ordering::Relaxed)
    }

    /// Clears the record before a touch in Redis.
    pub(super) fn clear_use(&self) {
        self.in_use.store(false, Ordering::Relaxed);
    }

    /// The approximate size, for the hot set's limit.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.session.client_data.as_str().len()
    }
}

/// A time of the instance's clock for an atomic; overflows after 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
