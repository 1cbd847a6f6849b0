//! A violated guarantee.

use std::fmt;

use serde::Serialize;

use crate::chaos::ledger::{Entry, Moment, SessionNumber};

/// The kinds of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breach {
    /// An acknowledged write is gone.
    Lost,
    /// A write was executed twice, or its retry got another response than the first attempt.
    Duplicated,
    /// A message precedes one that was acknowledged before it was sent, or has another number than
    /// was acknowledged, or two readers saw different orders.
    Reordered,
    /// An act returned a state older than one that a client had received before it began, or two
    /// different states have the same version.
    StaleRead,
    /// A response was marked as unverified although Redis was available.
    UnverifiedOutsideFault,
    /// A response showed another session's state.
    CrossSessionRead,
    /// A deleted session was seen again.
    Resurrected,
    /// A claim returned the old id, one with another affinity key, or another than before.
    WrongNewId,
    /// The old id of a session was served after its claim.
    OldIdServed,
    /// At the end a claimed session lives under both of its ids.
    TwoLiveIds,
    /// A session has data that no client wrote, or whose write was rejected.
    Phantom,
    /// A session could not be read at the end, so its writes could not be checked.
    Unreadable,
}

impl Breach {
    /// The name in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::StaleRead => "stale read",
            Self::UnverifiedOutsideFault => "unverified read outside a Redis fault",
            Self::CrossSessionRead => "cross-session read",
            Self::Resurrected => "resurrected",
            Self::WrongNewId => "wrong new id",
            Self::OldIdServed => "old id served after its claim",
            Self::TwoLiveIds => "two live ids",
            Self::Phantom => "phantom",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One violation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) breach: Breach,
    pub(crate) session: SessionNumber,
    /// When the act that showed it began and ended, milliseconds since the run began.
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
    /// What was seen, as text.
    pub(crate) what: String,
}

impl Violation {
    pub(super) fn new(breach: Breach, entry: &Entry, what: String) -> Self {
        let millis = |moment: Moment| u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        Self {
            breach,
            session: entry.session,
            begin_ms: millis(entry.time.begin),
            end_ms: millis(entry.time.end),
            what,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { breach, session, begin_ms, end_ms, what } = self;
        write!(f, "{}: session {session}, {begin_ms} to {end_ms} ms: {what}", breach.as_str())
    }
}
