//! Claims: at the end exactly one id of each claimed session lives, unless a client deleted it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::session::Session;
use super::violation::{Breach, Violation};
use crate::chaos::ledger::{Act, Entry, IdUsed, NewId, Outcome, View};

/// Sessions with at least one claim that may have been executed, by what the final reads found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Claims {
    /// Their claim was acknowledged.
    pub(crate) acknowledged: u64,
    /// No claim was acknowledged, so the new id is unknown.
    pub(crate) unknown: u64,
    /// Only the new id lives.
    pub(crate) new_id_lives: u64,
    /// Only the old id lives: the claim was not executed.
    pub(crate) old_id_lives: u64,
    /// Both live, which is a violation.
    pub(crate) both_live: u64,
    /// None lives. A violation, unless a client deleted the session.
    pub(crate) none_lives: u64,
}

impl Claims {
    pub(super) fn count(&mut self, session: &Session<'_>) {
        if session.claims().next().is_none() {
            return;
        }
        *(if session.has_claimed_id() { &mut self.acknowledged } else { &mut self.unknown }) += 1;
        let [old, new] = [IdUsed::Original, IdUsed::Claimed].map(|id| lives(session, id).is_some());
        *match (old, new) {
            (false, true) => &mut self.new_id_lives,
            (true, false) => &mut self.old_id_lives,
            (true, true) => &mut self.both_live,
            (false, false) => &mut self.none_lives,
        } += 1;
    }
}

/// Adds a violation for each claim that returned another id than it must, and for each claimed
/// session with two live ids or none. That a claimed id vanished is reported with the messages.
pub(super) fn check(session: &Session<'_>, violations: &mut Vec<Violation>) {
    wrong_ids(session, violations);
    two_live_ids(session, violations);
    no_live_id(session, violations);
}

fn wrong_ids(session: &Session<'_>, violations: &mut Vec<Violation>) {
    let mut first = None;
    for (_, claim) in session.claims() {
        let Some(View::Claimed { new, kind }) = claim.seen().map(|seen| &seen.view) else {
            continue;
        };
        let what = match kind {
            NewId::Unchanged => "the claim did not change the id",
            NewId::OtherAffinityKey => "the claimed id has another affinity key",
            NewId::SameAffinityKey if first.is_some_and(|first| first != *new) => {
                "two claims returned different ids"
            }
            NewId::SameAffinityKey => {
                first = Some(*new);
                continue;
            }
        };
        violations.push(Violation::new(Breach::WrongNewId, claim, what.to_owned()));
    }
}

fn two_live_ids(session: &Session<'_>, violations: &mut Vec<Violation>) {
    let Some(old) = lives(session, IdUsed::Original).filter(|_| session.has_claimed_id()) else {
        return;
    };
    let (breach, what) = match lives(session, IdUsed::Claimed) {
        Some(_) => (Breach::TwoLiveIds, "the old id lives beside the claimed one"),
        None => (Breach::OldIdServed, "the old id lives after its claim"),
    };
    violations.push(Violation::new(breach, old, what.to_owned()));
}

/// Only for claims without an acknowledgement, each of which is repeated before the final reads.
fn no_live_id(session: &Session<'_>, violations: &mut Vec<Violation>) {
    let is_explained = session.has_claimed_id() || session.deletes(IdUsed::Original).count() > 0;
    let gone = session
        .last_reads()
        .find(|entry| entry.id == IdUsed::Original && entry.outcome == Outcome::Absent);
    let Some(gone) = gone.filter(|_| !is_explained && session.claims().count() > 0) else { return };
    // By the session's new owner the repetition would have been acknowledged.
    let unknown: BTreeSet<_> = session.claims().map(|(user, _)| user).collect();
    let is_rejected = |user| {
        let mut again = session.entries.iter().rev();
        let last = again.find(|entry| entry.act == Act::Claim(user));
        last.is_some_and(|entry| entry.outcome == Outcome::Absent)
    };
    let (breach, what) = match unknown.into_iter().all(is_rejected) {
        true => (Breach::Lost, "neither the old id nor a claimed one lives"),
        false => (Breach::Unreadable, "the old id is gone, and a claim's outcome is unknown"),
    };
    violations.push(Violation::new(breach, gone, what.to_owned()));
}

/// The final read that found the session by this id.
fn lives<'a>(session: &Session<'a>, id: IdUsed) -> Option<&'a Entry> {
    session.last_reads().find(|entry| entry.id == id && entry.seen().is_some())
}
