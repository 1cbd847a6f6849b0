//! The operations on one session.

use crate::chaos::ledger::{Act, Entry, Moment, Outcome, Seen, Trust};

/// All that was done to one session, the earliest first.
pub(super) struct Session<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) settled: Moment,
    /// From when on the session may be gone, since somebody was deleting it.
    deletable: Option<Moment>,
}

impl<'a> Session<'a> {
    pub(super) fn new(mut entries: Vec<&'a Entry>, settled: Moment) -> Self {
        entries.sort_by_key(|entry| (entry.time.begin, entry.time.end));
        let deletes = entries.iter().filter(|entry| entry.act == Act::Delete);
        let deletable = deletes.filter(|entry| entry.may_be_done()).map(|entry| entry.time.begin).min();
        Self { entries, settled, deletable }
    }

    /// Whether this act saw that the session is gone when nobody had tried to delete it.
    pub(super) fn vanished_in(&self, entry: &Entry) -> bool {
        entry.outcome == Outcome::Absent && self.deletable.is_none_or(|deletable| deletable > entry.time.end)
    }

    /// The acts of the final reading, with what they ended in.
    pub(super) fn last_reads(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied().filter(|entry| entry.time.begin >= self.settled)
    }
}

impl Entry {
    pub(super) fn is_write(&self) -> bool {
        matches!(self.act, Act::Create | Act::Append(_) | Act::Patch(_) | Act::Delete)
    }

    /// What an acknowledged act was told.
    pub(super) fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Done(seen) => Some(seen),
            Outcome::Absent | Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// Whether it was done, or nobody knows.
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Unknown)
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.seen().is_some_and(|seen| seen.trust == Trust::Unverified)
    }
}
