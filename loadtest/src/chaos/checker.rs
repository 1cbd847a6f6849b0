//! Judges a ledger. It knows nothing of the system but what the clients were told, and when.
//!
//! All that it holds against the system are facts: what cannot be decided, since an outcome stayed unknown or two acts
//! overlapped, is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chaos::ledger::{
    Act, ClientNumber, Entry, Interval, Moment, Origin, Outcome, Repetition, Seen, SessionNumber, Trust, View,
};

mod messages;
mod order;
#[cfg(test)]
mod tests;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) entries: &'a [Entry],
    /// From when on nobody wrote and nothing was wrong with the system: what is read later is the final state.
    pub(crate) settled: Moment,
    /// When Redis was away, or coming back.
    pub(crate) redis_faults: &'a [Interval],
}

/// What the system promises and the checker looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breach {
    /// An acknowledged write is gone.
    Lost,
    /// A write was done twice, or its repetition was answered otherwise than the first try.
    Duplicated,
    /// A message stands after one that was sent when it had been acknowledged, or not where its client was told, or two
    /// readers saw different orders.
    Reordered,
    /// An act saw a state older than one that somebody had been told of before it began, or two different states under one
    /// version.
    StaleRead,
    /// A read was answered as unverified although Redis was there.
    UnverifiedOutsideFault,
    /// An answer showed another session's state.
    CrossSessionRead,
    /// A deleted session was seen again.
    Resurrected,
    /// Something is there that nobody wrote, or whose writer was told that it was not done.
    Phantom,
    /// A session could not be read at the end, so nothing is known of its writes.
    Unreadable,
}

impl Breach {
    /// As it stands in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::StaleRead => "stale read",
            Self::UnverifiedOutsideFault => "unverified read outside a Redis fault",
            Self::CrossSessionRead => "cross-session read",
            Self::Resurrected => "resurrected",
            Self::Phantom => "phantom",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) breach: Breach,
    pub(crate) session: SessionNumber,
    /// When the act that shows it began and ended, milliseconds since the run began.
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
    /// What was seen, in words.
    pub(crate) what: String,
}

impl Violation {
    fn new(breach: Breach, entry: &Entry, what: String) -> Self {
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

/// What the checker found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Creates, messages, patches and deletes.
    pub(crate) acknowledged: u64,
    /// Writes whose outcome stayed unknown.
    pub(crate) unknown: u64,
    /// Reads that were answered as unverified, inside and outside of Redis faults.
    pub(crate) unverified_reads: u64,
    /// The longest time for which a client that kept asking got no good answer.
    pub(crate) worst_gap: Duration,
    /// In the order in which they happened.
    pub(crate) violations: Vec<Violation>,
}

impl Findings {
    pub(crate) fn count(&self, breach: Breach) -> u64 {
        self.violations.iter().filter(|violation| violation.breach == breach).count() as u64
    }
}

/// Judges a run.
pub(crate) fn check(facts: Facts<'_>) -> Findings {
    let mut violations = Vec::new();
    let mut sessions: BTreeMap<SessionNumber, Vec<&Entry>> = BTreeMap::new();
    for entry in facts.entries {
        sessions.entry(entry.session).or_default().push(entry);
    }
    for entries in sessions.into_values() {
        let session = Session::new(entries, facts.settled);
        messages::check(&session, &mut violations);
        order::check(&session, &mut violations);
    }
    violations.extend(facts.entries.iter().filter_map(foreign));
    violations.extend(facts.entries.iter().filter_map(otherwise_repeated));
    violations.extend(facts.entries.iter().filter_map(|entry| unverified(entry, &facts)));
    violations.sort_by_key(|violation| (violation.end_ms, violation.session, violation.breach));
    let writes = || facts.entries.iter().filter(|entry| entry.is_write());
    Findings {
        acknowledged: writes().filter(|entry| entry.seen().is_some()).count() as u64,
        unknown: writes().filter(|entry| entry.outcome == Outcome::Unknown).count() as u64,
        unverified_reads: facts.entries.iter().filter(|entry| entry.is_unverified()).count() as u64,
        worst_gap: worst_gap(&facts),
        violations,
    }
}

/// All that was done to one session, the earliest first.
struct Session<'a> {
    entries: Vec<&'a Entry>,
    settled: Moment,
    /// From when on the session may be gone, since somebody was deleting it.
    deletable: Option<Moment>,
}

impl<'a> Session<'a> {
    fn new(mut entries: Vec<&'a Entry>, settled: Moment) -> Self {
        entries.sort_by_key(|entry| (entry.time.begin, entry.time.end));
        let deletes = entries.iter().filter(|entry| entry.act == Act::Delete);
        let deletable = deletes.filter(|entry| entry.may_be_done()).map(|entry| entry.time.begin).min();
        Self { entries, settled, deletable }
    }

    /// Whether this act saw that the session is gone when nobody had tried to delete it.
    fn vanished_in(&self, entry: &Entry) -> bool {
        entry.outcome == Outcome::Absent && self.deletable.is_none_or(|deletable| deletable > entry.time.end)
    }

    /// The acts of the final reading, with what they ended in.
    fn last_reads(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied().filter(|entry| entry.time.begin >= self.settled)
    }
}

impl Entry {
    fn is_write(&self) -> bool {
        matches!(self.act, Act::Create | Act::Append(_) | Act::Patch(_) | Act::Delete)
    }

    /// What an acknowledged act was told.
    fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Done(seen) => Some(seen),
            Outcome::Absent | Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// Whether it was done, or nobody knows.
    fn may_be_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Unknown)
    }

    fn is_unverified(&self) -> bool {
        self.seen().is_some_and(|seen| seen.trust == Trust::Unverified)
    }
}

fn foreign(entry: &Entry) -> Option<Violation> {
    let is_foreign = entry.seen().is_some_and(|seen| seen.origin == Origin::Foreign);
    is_foreign.then(|| Violation::new(Breach::CrossSessionRead, entry, format!("{:?} {:?}", entry.act, entry.outcome)))
}

fn otherwise_repeated(entry: &Entry) -> Option<Violation> {
    let otherwise = entry.seen().is_some_and(|seen| seen.view == View::Repeated(Repetition::Otherwise));
    let told = format!("an acknowledged {} was repeated under its key and answered otherwise", entry.act.as_str());
    otherwise.then(|| Violation::new(Breach::Duplicated, entry, told))
}

fn unverified(entry: &Entry, facts: &Facts<'_>) -> Option<Violation> {
    let excused = facts.redis_faults.iter().any(|fault| fault.overlaps(entry.time));
    let told = "answered as unverified while Redis was there".to_owned();
    (entry.is_unverified() && !excused).then(|| Violation::new(Breach::UnverifiedOutsideFault, entry, told))
}

/// Good answers are those that tell something: also that the session is gone.
fn worst_gap(facts: &Facts<'_>) -> Duration {
    let mut clients: BTreeMap<ClientNumber, Vec<&Entry>> = BTreeMap::new();
    for entry in facts.entries.iter().filter(|entry| entry.time.begin < facts.settled) {
        clients.entry(entry.client).or_default().push(entry);
    }
    let gap_of = |mut entries: Vec<&Entry>| {
        entries.sort_by_key(|entry| entry.time.begin);
        let mut since = entries.first().map_or(Moment::ZERO, |entry| entry.time.begin);
        let mut worst = Duration::ZERO;
        for entry in entries {
            worst = worst.max(entry.time.end.saturating_sub(since));
            if matches!(entry.outcome, Outcome::Done(_) | Outcome::Absent) {
                since = entry.time.end;
            }
        }
        worst
    };
    clients.into_values().map(gap_of).max().unwrap_or_default()
}
