//! The operations on one session.

use crate::chaos::ledger::{Act, Entry, Interval, Moment, Outcome, Seen, Trust};

/// All acts on one session, the earliest first.
pub(super) struct Session<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) settled: Moment,
    /// When the first delete began that may have been executed. From then on the session may be
    /// gone.
    deletable: Option<Moment>,
    /// When deletes were tried that may have been executed; one of unknown outcome has no end.
    deletes: Vec<Interval>,
}

impl<'a> Session<'a> {
    pub(super) fn new(mut entries: Vec<&'a Entry>, settled: Moment) -> Self {
        entries.sort_by_key(|entry| (entry.time.begin, entry.time.end));
        let deletes: Vec<_> = entries
            .iter()
            .filter(|entry| entry.act == Act::Delete && entry.may_be_done())
            .map(|entry| match entry.outcome {
                Outcome::Unknown => Interval { begin: entry.time.begin, end: Moment::MAX },
                _ => entry.time,
            })
            .collect();
        let deletable = deletes.iter().map(|delete| delete.begin).min();
        Self { entries, settled, deletable, deletes }
    }

    /// Whether this write may have been executed. If the session was deleted in the meantime, that
    /// includes one that found no session: the service tries a write again whose result was lost
    /// between it and its store, and reports what the last try found.
    pub(super) fn may_have_done(&self, write: &Entry) -> bool {
        write.may_be_done()
            || (write.outcome == Outcome::Absent
                && self.deletes.iter().any(|delete| delete.overlaps(write.time)))
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
    fn may_be_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Unknown)
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.seen().is_some_and(|seen| seen.trust == Trust::Unverified)
    }
}
