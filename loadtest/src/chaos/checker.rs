//! Finds violations in a ledger: the requests that clients sent, their responses, and the times.
//!
//! It reports only certain violations: none where an unknown outcome or two overlapping operations
//! could explain what was seen.

use std::collections::BTreeMap;
use std::time::Duration;

use session::Session;

use crate::chaos::ledger::{
    ClientNumber, Entry, Interval, Moment, Origin, Outcome, Repetition, SessionNumber, View,
};

mod claims;
mod messages;
mod order;
mod session;
#[cfg(test)]
mod tests;
mod violation;

pub(crate) use claims::Claims;
pub(crate) use violation::{Breach, Violation};

/// The checker's input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) entries: &'a [Entry],
    /// From then on no client wrote and the system had recovered: later reads show the final state.
    pub(crate) settled: Moment,
    /// When Redis was unavailable or recovering.
    pub(crate) redis_faults: &'a [Interval],
}

/// What the checker found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Creates, messages, patches, claims and deletes.
    pub(crate) acknowledged: u64,
    /// Writes whose outcome stayed unknown.
    pub(crate) unknown: u64,
    /// Reads whose response was marked as unverified, during Redis faults and outside of them.
    pub(crate) unverified_reads: u64,
    /// The longest time in which a client kept sending and got no good response.
    pub(crate) worst_gap: Duration,
    /// Which ids of the claimed sessions live at the end.
    pub(crate) claims: Claims,
    /// In the order in which they happened.
    pub(crate) violations: Vec<Violation>,
}

impl Findings {
    pub(crate) fn count(&self, breach: Breach) -> u64 {
        self.violations.iter().filter(|violation| violation.breach == breach).count() as u64
    }
}

/// Checks a run.
pub(crate) fn check(facts: Facts<'_>) -> Findings {
    let (mut violations, mut claims) = (Vec::new(), Claims::default());
    let mut sessions: BTreeMap<SessionNumber, Vec<&Entry>> = BTreeMap::new();
    for entry in facts.entries {
        sessions.entry(entry.session).or_default().push(entry);
    }
    for entries in sessions.into_values() {
        let session = Session::new(entries, facts.settled);
        messages::check(&session, &mut violations);
        order::check(&session, &mut violations);
        claims::check(&session, &mut violations);
        claims.count(&session);
    }
    violations.extend(facts.entries.iter().filter_map(foreign));
    violations.extend(facts.entries.iter().filter_map(different_replay));
    violations.extend(facts.entries.iter().filter_map(|entry| unverified(entry, &facts)));
    violations.sort_by_key(|violation| (violation.end_ms, violation.session, violation.breach));
    let writes = || facts.entries.iter().filter(|entry| entry.is_write());
    Findings {
        acknowledged: writes().filter(|entry| entry.seen().is_some()).count() as u64,
        unknown: writes().filter(|entry| entry.outcome == Outcome::Unknown).count() as u64,
        unverified_reads: facts.entries.iter().filter(|entry| entry.is_unverified()).count() as u64,
        worst_gap: worst_gap(&facts),
        claims,
        violations,
    }
}

fn foreign(entry: &Entry) -> Option<Violation> {
    let is_foreign = entry.seen().is_some_and(|seen| seen.origin == Origin::Foreign);
    is_foreign.then(|| {
        Violation::new(
            Breach::CrossSessionRead,
            entry,
            format!("{:?} {:?}", entry.act, entry.outcome),
        )
    })
}

fn different_replay(entry: &Entry) -> Option<Violation> {
    let different =
        entry.seen().is_some_and(|seen| seen.view == View::Repeated(Repetition::Different));
    let what = format!(
        "an acknowledged {} was repeated under its key and got a different response",
        entry.act.as_str()
    );
    different.then(|| Violation::new(Breach::Duplicated, entry, what))
}

fn unverified(entry: &Entry, facts: &Facts<'_>) -> Option<Violation> {
    let excused = facts.redis_faults.iter().any(|fault| fault.overlaps(entry.time));
    let what = "the response was marked unverified while Redis was available".to_owned();
    (entry.is_unverified() && !excused)
        .then(|| Violation::new(Breach::UnverifiedOutsideFault, entry, what))
}

/// A good response acknowledges the operation, or reports that the session does not exist.
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
