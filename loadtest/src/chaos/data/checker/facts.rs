//! What the checker knows of a run.

use std::time::Duration;

use super::violation::Breach;
use crate::chaos::data::ledger::{Audited, Entry};
use crate::chaos::ledger::{Interval, Moment};

/// API.md: how old a copy of Nginx may be, while there is no fault.
const AGE: Duration = Duration::from_secs(10);
/// API.md: the same with faults.
const AGE_WITH_FAULTS: Duration = Duration::from_secs(45);
/// Nginx counts whole seconds, and a request takes a moment.
const ROUNDING: Duration = Duration::from_secs(2);

/// The checker's input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) entries: &'a [Entry],
    /// What the audit log has of the run; `None` without an admin who may read it.
    pub(crate) audit: Option<&'a [Audited]>,
    /// From then on no client wrote and the system had recovered: later reads show the final state.
    pub(crate) settled: Moment,
    /// When a fault was injected or the system recovered.
    pub(crate) faults: &'a [Interval],
}

impl Facts<'_> {
    /// How old the state may be that the response shows, by API.md.
    pub(super) fn allowed_age(&self, entry: &Entry) -> Duration {
        if !entry.is_copy {
            return Duration::ZERO;
        }
        let begin = entry.time.begin.saturating_sub(AGE_WITH_FAULTS + ROUNDING);
        let time = Interval { begin, ..entry.time };
        let is_calm = !self.faults.iter().any(|fault| fault.overlaps(time));
        ROUNDING + if is_calm { AGE } else { AGE_WITH_FAULTS }
    }
}

/// The copies of Nginx's cache, and the age of the oldest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Oldest {
    pub(crate) copies: u64,
    pub(crate) age: Duration,
}

/// Compares a write with the number of its entries in the audit log.
pub(super) fn account(write: &Entry, count: usize) -> Option<(Breach, String)> {
    let act = write.act.as_str();
    match count {
        0 if write.seen().is_some() => Some((Breach::Lost, format!("no entry of the {act}"))),
        0 => None,
        1 if write.may_be_done() => None,
        1 => Some((Breach::Phantom, format!("an entry of a rejected {act}"))),
        _ => Some((Breach::Doubled, format!("{count} entries of one {act}"))),
    }
}
