//! The operations on one session.

use crate::chaos::ledger::{Act, Entry, Moment, Outcome, Seen, Trust};

/// All acts on one session, the earliest first.
pub(super) struct Session<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) settled: Moment,
    /// When the first delete began that may have been executed. From then on the session may be
    /// gone.
    deletable: Option<Moment>,
}

impl<'a> Session<'a> {
    pub(super) fn new(mut entries: Vec<&'a Entry>, settled: Moment) -> Self {
        entries.sort_by_key(|entry| (entry.time.begin, entry.time.end));
        let deletes = entries.iter().filter(|entry| entry.act == Act::Delete);
        let deletable =
            deletes.filter(|entry| entry.may_be_done()).map(|entry| entry.time.begin).min();
        Self { entries, settled, deletable }
    }

    /// Whether this act found the session gone before any delete was tried.
    pub(super) fn vanished_in(&self, entry: &Entry) -> bool {
        entry.outcome == Outcome::Absent
            && self.deletable.is_none_or(|deletable| deletable > entry.time.end)
    }

    /// The acts of the final reads.
    pub(super) fn last_reads(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied().filter(|entry| entry.time.begin >= self.settled)
    }
}

impl Entry {
    pub(super) fn is_write(&self) -> bool {
        matches!(self.act, Act::Create | Act::Append(_) | Act::Patch(_) | Act::Delete)
    }

    /// What the response showed, if the act was acknowledged.
    pub(super) fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Done(seen) => Some(seen),
            Outcome::Absent | Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// Whether it was executed, or its outcome is unknown.
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Unknown)
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.seen().is_some_and(|seen| seen.trust == Trust::Unverified)
    }
}
