//! A violated guarantee about products, files or accounts.

use std::fmt;

use serde::Serialize;

use crate::chaos::data::ledger::{Entry, Via};
use crate::chaos::ledger::{Interval, Moment};

/// The kinds of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breach {
    /// An acknowledged write is gone, or is not in the audit log.
    Lost,
    /// A write was executed twice, or its repetition got another response than the first attempt.
    Doubled,
    /// A response is older than API.md says.
    Stale,
    /// Bytes or metadata of a file differ from what was uploaded.
    Corrupt,
    /// A deleted product or file was seen or used again.
    Resurrected,
    /// The stock is negative, differs from what was reserved, or sufficed for a rejected
    /// reservation.
    WrongStock,
    /// Data that no client wrote, or whose write was rejected.
    Phantom,
    /// Something could not be read at the end, so its writes could not be checked.
    Unreadable,
}

impl Breach {
    /// The name in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Stale => "stale",
            Self::Corrupt => "corrupt",
            Self::Resurrected => "resurrected",
            Self::WrongStock => "wrong stock",
            Self::Phantom => "phantom",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    pub(crate) breach: Breach,
    /// The product, file or user.
    pub(crate) subject: String,
    /// Where the response came from; `None` for the audit log.
    pub(crate) via: Option<String>,
    /// When the act that showed it began and ended, milliseconds since the run began.
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
    /// What was seen, as text.
    pub(crate) what: String,
}

impl Violation {
    pub(super) fn new(breach: Breach, subject: &str, entry: &Entry, what: String) -> Self {
        Self::at(breach, subject, entry.time, Some(&entry.via), what)
    }

    pub(super) fn at(
        breach: Breach,
        subject: &str,
        time: Interval,
        via: Option<&Via>,
        what: String,
    ) -> Self {
        let millis = |moment: Moment| u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        Self {
            breach,
            subject: subject.to_owned(),
            via: via.map(Via::to_string),
            begin_ms: millis(time.begin),
            end_ms: millis(time.end),
            what,
        }
    }

    /// One that the audit log shows.
    pub(super) fn in_audit(breach: Breach, subject: &str, settled: Moment, what: String) -> Self {
        let time = Interval { begin: settled, end: settled };
        Self::at(breach, subject, time, None, what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { breach, subject, via, begin_ms, end_ms, what } = self;
        let via = via.as_deref().unwrap_or("the audit log");
        let breach = breach.as_str();
        write!(f, "{breach}: {subject}, {begin_ms} to {end_ms} ms, by {via}: {what}")
    }
}
