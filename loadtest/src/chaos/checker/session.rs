//! The operations on one session.

use crate::chaos::ledger::{
    Act, Entry, IdUsed, Interval, Moment, Outcome, Seen, Trust, UserNumber,
};

/// All acts on one session, the earliest first.
pub(super) struct Session<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) settled: Moment,
    /// When each of its ids may have ended, by an act that may have been executed: either by a
    /// delete, the original one also by a claim. An act of unknown outcome has no end.
    ends: Vec<(IdUsed, Interval)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(mut entries: Vec<&'a Entry>, settled: Moment) -> Self {
        entries.sort_by_key(|entry| (entry.time.begin, entry.time.end));
        let ends = entries
            .iter()
            .filter(|entry| matches!(entry.act, Act::Delete | Act::Claim(_)) && entry.may_be_done())
            .map(|entry| match entry.outcome {
                Outcome::Unknown => {
                    (entry.id, Interval { begin: entry.time.begin, end: Moment::MAX })
                }
                _ => (entry.id, entry.time),
            })
            .collect();
        Self { entries, settled, ends }
    }

    /// Whether this write may have been executed. If the session was deleted or claimed in the
    /// meantime, that includes one that found no session: the service tries a write again whose
    /// result was lost between it and its store, and reports what the last try found.
    pub(super) fn may_have_done(&self, write: &Entry) -> bool {
        write.may_be_done()
            || (write.outcome == Outcome::Absent
                && self.ends_of(write.id).any(|end| end.overlaps(write.time)))
    }

    /// Whether this act found no session before anything was tried that ends its id.
    pub(super) fn vanished_in(&self, entry: &Entry) -> bool {
        entry.outcome == Outcome::Absent
            && self.ends_of(entry.id).all(|end| end.begin > entry.time.end)
    }

    fn ends_of(&self, id: IdUsed) -> impl Iterator<Item = Interval> {
        self.ends.iter().filter(move |(ended, _)| *ended == id).map(|(_, time)| *time)
    }

    /// The claims that may have been executed, with their users.
    pub(super) fn claims(&self) -> impl Iterator<Item = (UserNumber, &'a Entry)> {
        self.entries.iter().filter_map(|&entry| match entry.act {
            Act::Claim(user) if entry.may_be_done() => Some((user, entry)),
            _ => None,
        })
    }

    /// The deletes by this id that may have been executed.
    pub(super) fn deletes(&self, id: IdUsed) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .copied()
            .filter(move |entry| entry.act == Act::Delete && entry.id == id && entry.may_be_done())
    }

    /// Whether a client knows the new id.
    pub(super) fn has_claimed_id(&self) -> bool {
        self.claims().any(|(_, claim)| claim.seen().is_some())
    }

    /// The acts of the final reads.
    pub(super) fn last_reads(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied().filter(|entry| entry.time.begin >= self.settled)
    }
}

impl Entry {
    pub(super) fn is_write(&self) -> bool {
        matches!(
            self.act,
            Act::Create | Act::Append(_) | Act::Patch(_) | Act::Delete | Act::Claim(_)
        )
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
