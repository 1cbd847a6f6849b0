//! Reads and writes in real time: no response shows a version older than an earlier response did.
//!
//! Each write makes one version, and versions only grow. So the acts on a session are linearizable
//! if each shows at least the newest version of all acts that ended before it began, and each write
//! a newer one. One sweep over the begin and end times checks this for every pair.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::session::Session;
use super::violation::{Breach, Violation};
use crate::chaos::ledger::{Act, Entry, IdUsed, Outcome, Patches, View};

/// The newest state that a client had received.
#[derive(Default)]
struct Known {
    version: u64,
    messages: u64,
    /// The id from the create was deleted or found gone.
    original_gone: bool,
    /// Its delete was acknowledged.
    original_deleted: bool,
    /// The id from the claim was deleted or found gone.
    claimed_gone: bool,
    /// A claim was acknowledged.
    claimed: bool,
}

/// Adds the violations of real-time order.
pub(super) fn check(session: &Session<'_>, violations: &mut Vec<Violation>) {
    let mut by_end = session.entries.clone();
    by_end.sort_by_key(|entry| entry.time.end);
    let mut by_end = by_end.into_iter().peekable();
    let mut known = Known::default();
    for entry in &session.entries {
        while let Some(earlier) = by_end.next_if(|earlier| earlier.time.end < entry.time.begin) {
            known.learn(session, earlier);
        }
        violations.extend(known.contradicts(session, entry));
    }
    one_state_for_each_version(session, violations);
}

impl Known {
    fn learn(&mut self, session: &Session<'_>, entry: &Entry) {
        match &entry.outcome {
            Outcome::Done(seen) => {
                let (version, messages) = shown(&seen.view);
                self.version = self.version.max(version.unwrap_or_default());
                self.messages = self.messages.max(messages.unwrap_or_default());
                if seen.view == View::Deleted {
                    *self.gone(entry.id) = true;
                    self.original_deleted |= entry.id == IdUsed::Original;
                }
                self.claimed |= matches!(seen.view, View::Claimed { .. });
            }
            // Without a delete, a vanished session does not count as deleted: `contradicts` reports
            // it.
            Outcome::Absent => *self.gone(entry.id) |= !session.vanished_in(entry),
            Outcome::Refused | Outcome::Unknown => {}
        }
    }

    fn gone(&mut self, id: IdUsed) -> &mut bool {
        match id {
            IdUsed::Original => &mut self.original_gone,
            IdUsed::Claimed => &mut self.claimed_gone,
        }
    }

    /// The breach if this act succeeded by an id that was gone before it began.
    fn used_gone_id(&self, session: &Session<'_>, entry: &Entry) -> Option<Breach> {
        let is_gone = match entry.id {
            IdUsed::Original => self.original_gone,
            IdUsed::Claimed => self.claimed_gone,
        };
        match (entry.id, entry.act) {
            // A replayed response shows an earlier state.
            (_, Act::Repeat(_)) => None,
            // A claim is repeated under the old id.
            (IdUsed::Original, Act::Claim(_)) if self.claimed => None,
            // Its first attempt may be what ended the id.
            (IdUsed::Original, Act::Claim(_)) if session.claims().nth(1).is_some() => {
                self.original_deleted.then_some(Breach::Resurrected)
            }
            (IdUsed::Original, Act::Claim(_)) => is_gone.then_some(Breach::Resurrected),
            (IdUsed::Original, _) if self.claimed => Some(Breach::OldIdServed),
            // A second delete succeeds.
            (_, Act::Delete) => None,
            (IdUsed::Original, _) if is_gone && !self.original_deleted => {
                let claimed = session.claims().next().is_some();
                Some(if claimed { Breach::OldIdServed } else { Breach::Resurrected })
            }
            _ => is_gone.then_some(Breach::Resurrected),
        }
    }

    /// How the act contradicts a response that was received before it began.
    fn contradicts(&self, session: &Session<'_>, entry: &Entry) -> Option<Violation> {
        // A write that the final reads lack is reported as lost, not as a stale read.
        let last = entry.time.begin >= session.settled;
        // One report of the two final reads is enough. An old id that lives is reported with the
        // claims.
        let is_reported =
            last && (entry.act == Act::History || (self.claimed && entry.id == IdUsed::Original));
        if entry.seen().is_some()
            && !entry.is_unverified()
            && !is_reported
            && let Some(breach) = self.used_gone_id(session, entry)
        {
            let what = format!("{} succeeded after the id was gone", entry.act.as_str());
            return Some(Violation::new(breach, entry, what));
        }
        match &entry.outcome {
            Outcome::Absent if session.vanished_in(entry) && !last && self.version > 0 => {
                let what = format!(
                    "{} found no session after its version {} had been seen",
                    entry.act.as_str(),
                    self.version
                );
                Some(Violation::new(Breach::StaleRead, entry, what))
            }
            Outcome::Done(_) if entry.is_unverified() || (last && entry.act == Act::History) => {
                None
            }
            Outcome::Done(seen) if self.is_newer_than(entry.act, &seen.view) => {
                let Self { version, messages, .. } = self;
                let what = format!(
                    "{} showed {} after version {version} and {messages} messages had been seen",
                    entry.act.as_str(),
                    described(&seen.view)
                );
                Some(Violation::new(Breach::StaleRead, entry, what))
            }
            Outcome::Done(_) | Outcome::Absent | Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// Whether a newer state was known than this shows. A write returns a new version, so the
    /// version known before must be older.
    fn is_newer_than(&self, act: Act, view: &View) -> bool {
        let (version, messages) = shown(view);
        let new_version = u64::from(matches!(act, Act::Append(_) | Act::Patch(_)));
        let new_message = u64::from(matches!(act, Act::Append(_)));
        version.is_some_and(|version| version < self.version + new_version)
            || messages.is_some_and(|messages| messages < self.messages + new_message)
    }
}

fn described(view: &View) -> String {
    match shown(view) {
        (Some(version), Some(messages)) => format!("version {version} and {messages} messages"),
        (_, messages) => format!("{} messages", messages.unwrap_or_default()),
    }
}

/// The version and the number of messages that a view shows.
fn shown(view: &View) -> (Option<u64>, Option<u64>) {
    match view {
        View::Posted { version, number } => (Some(*version), Some(*number)),
        View::Session { version, messages, .. } => (Some(*version), Some(*messages)),
        View::History(messages) => (None, Some(messages.len() as u64)),
        View::Deleted | View::Claimed { .. } | View::Repeated(_) => (None, None),
    }
}

/// Two writes cannot make the same version, and two views of one version cannot differ.
fn one_state_for_each_version<'a>(session: &Session<'a>, violations: &mut Vec<Violation>) {
    let mut states: HashMap<u64, (u64, Option<&'a Patches>)> = HashMap::new();
    let mut writers: HashMap<u64, &Entry> = HashMap::new();
    for &entry in &session.entries {
        let (version, messages, patches) = match entry.seen().map(|seen| &seen.view) {
            Some(View::Posted { version, number }) => (*version, *number, None),
            Some(View::Session { version, messages, patches }) => {
                (*version, *messages, Some(patches))
            }
            Some(View::History(_) | View::Deleted | View::Claimed { .. } | View::Repeated(_))
            | None => continue,
        };
        let mut conflict = |what| violations.push(Violation::new(Breach::StaleRead, entry, what));
        match states.entry(version) {
            Vacant(place) => drop(place.insert((messages, patches))),
            Occupied(mut known) => {
                let (known_messages, known_patches) = known.get_mut();
                if *known_messages != messages
                    || known_patches.zip(patches).is_some_and(|(known, now)| known != now)
                {
                    conflict(format!("version {version} was seen with two different states"));
                }
                *known_patches = known_patches.or(patches);
            }
        }
        if entry.is_write()
            && let Some(other) = writers.insert(version, entry)
        {
            conflict(format!(
                "{} made version {version}, and so did {}",
                entry.act.as_str(),
                other.act.as_str()
            ));
        }
    }
}
