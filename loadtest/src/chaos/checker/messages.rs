//! Compares what was written with what is stored: each acknowledged write must be there once, in
//! its place, and nothing else.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::session::Session;
use super::violation::{Breach, Violation};
use crate::chaos::ledger::{Act, ClientNumber, Entry, IdUsed, Message, Moment, Outcome, View};

/// Adds a violation for each write that is missing, duplicated, out of order, or was never sent.
pub(super) fn check(session: &Session<'_>, violations: &mut Vec<Violation>) {
    let appends = session.entries.iter().filter_map(|&entry| match entry.act {
        Act::Append(message) => Some((message, entry)),
        _ => None,
    });
    let patches = session.entries.iter().filter_map(|&entry| match entry.act {
        Act::Patch(sequence) => Some(((entry.client, sequence), entry)),
        _ => None,
    });
    let (appends, patches) = (appends.collect(), patches.collect());
    let check = Check { session, appends, patches, histories: session.histories() };
    check.lost(violations);
    check.lost_patches(violations);
    check.duplicated(violations);
    check.reordered(violations);
    check.phantoms(violations);
    check.readable(violations);
}

struct Check<'s, 'a> {
    session: &'s Session<'a>,
    appends: HashMap<Message, &'a Entry>,
    patches: HashMap<(ClientNumber, u32), &'a Entry>,
    /// Sorted by length.
    histories: Vec<(&'a Entry, &'a [Message])>,
}

impl<'a> Session<'a> {
    fn histories(&self) -> Vec<(&'a Entry, &'a [Message])> {
        let history = |&entry: &&'a Entry| match &entry.seen()?.view {
            View::History(messages) => Some((entry, messages.as_slice())),
            _ => None,
        };
        let mut histories: Vec<_> = self.entries.iter().filter_map(history).collect();
        histories.sort_by_key(|(_, messages)| messages.len());
        histories
    }

    /// The acknowledged patches: client, sequence, and the version that the patch made.
    fn acknowledged_patches(&self) -> impl Iterator<Item = (ClientNumber, u32, u64)> {
        self.entries.iter().filter_map(|entry| match (entry.act, &entry.seen()?.view) {
            (Act::Patch(sequence), View::Session { version, .. }) => {
                Some((entry.client, sequence, *version))
            }
            _ => None,
        })
    }
}

/// The number, from 1, with which the message was acknowledged.
fn acknowledged_number(append: &Entry) -> Option<u64> {
    match append.seen()?.view {
        View::Posted { number, .. } => Some(number),
        _ => None,
    }
}

impl Check<'_, '_> {
    /// Acknowledged messages that are missing from the final history, or from an earlier one that
    /// is long enough to include them.
    fn lost(&self, violations: &mut Vec<Violation>) {
        let mut acknowledged: Vec<(u64, Message)> = self
            .appends
            .iter()
            .filter_map(|(&message, append)| Some((acknowledged_number(append)?, message)))
            .collect();
        acknowledged.sort_unstable();
        let mut lost = BTreeSet::new();
        for &(entry, history) in &self.histories {
            let last = entry.time.begin >= self.session.settled;
            let (mut holds, length) = (None, history.len() as u64);
            for &(number, message) in
                acknowledged.iter().take_while(|(number, _)| last || *number <= length)
            {
                if at(history, number) == Some(message) || lost.contains(&message) {
                    continue;
                }
                let holds =
                    holds.get_or_insert_with(|| history.iter().copied().collect::<HashSet<_>>());
                if !holds.contains(&message) {
                    lost.insert(message);
                    let what =
                        format!("'{message}' was acknowledged as number {number} and is gone");
                    violations.push(Violation::new(Breach::Lost, entry, what));
                }
            }
        }
        // The whole session is lost: its create and all its messages.
        if let Some(entry) = self.session.last_reads().find(|entry| self.session.vanished_in(entry))
        {
            violations.push(Violation::new(
                Breach::Lost,
                entry,
                "the session is gone, but no client deleted it".to_owned(),
            ));
            for (number, message) in
                acknowledged.into_iter().filter(|(_, message)| !lost.contains(message))
            {
                let what = format!(
                    "'{message}' was acknowledged as number {number} and is gone with its session"
                );
                violations.push(Violation::new(Breach::Lost, entry, what));
            }
        }
    }

    /// Acknowledged patches that a later version does not show.
    fn lost_patches(&self, violations: &mut Vec<Violation>) {
        let acknowledged: Vec<_> = self.session.acknowledged_patches().collect();
        let mut lost = HashSet::new();
        for entry in &self.session.entries {
            let Some(View::Session { version: shown, patches, .. }) =
                entry.seen().map(|seen| &seen.view)
            else {
                continue;
            };
            let last = entry.time.begin >= self.session.settled;
            for &(client, sequence, version) in
                acknowledged.iter().filter(|(.., version)| last || version <= shown)
            {
                let found = patches.get(&client).copied().unwrap_or_default();
                let unknown = |sequence| {
                    self.patches
                        .get(&(client, sequence))
                        .is_some_and(|patch| patch.outcome == Outcome::Unknown)
                };
                // An earlier patch of unknown outcome may have been executed late and replaced this
                // one.
                let explained = found >= sequence || unknown(found);
                if !explained && lost.insert((client, sequence)) {
                    let what = format!(
                        "patch {sequence} of client {client} made version {version} and is not in \
                         {shown}"
                    );
                    violations.push(Violation::new(Breach::Lost, entry, what));
                }
            }
        }
    }

    fn duplicated(&self, violations: &mut Vec<Violation>) {
        let mut twice = HashSet::new();
        for (entry, history) in self.histories.iter().rev() {
            let mut seen = HashSet::new();
            for message in history.iter().filter(|&&message| !seen.insert(message)) {
                if twice.insert(message) {
                    let what = format!("'{message}' is stored more than once");
                    violations.push(Violation::new(Breach::Duplicated, entry, what));
                }
            }
        }
        // A patch that was executed twice shows only in the version, which each write increments.
        let tried = self.session.entries.iter().filter(|entry| {
            entry.is_write()
                && !matches!(entry.act, Act::Delete | Act::Claim(_))
                && self.session.may_have_done(entry)
        });
        // A session is claimed at most once.
        let claimed = usize::from(self.session.claims().next().is_some());
        let tried = tried.count() + claimed + twice.len();
        let newest = self.session.entries.iter().filter_map(|entry| match entry.seen()?.view {
            View::Session { version, .. } | View::Posted { version, .. } => Some((version, entry)),
            View::History(_) | View::Deleted | View::Claimed { .. } | View::Repeated(_) => None,
        });
        if let Some((version, entry)) = newest.max_by_key(|(version, _)| *version)
            && version > tried as u64
        {
            let what = format!("the session is at version {version} after {tried} writes");
            violations.push(Violation::new(Breach::Duplicated, entry, what));
        }
    }

    fn reordered(&self, violations: &mut Vec<Violation>) {
        let mut displaced = HashSet::new();
        let mut displace = |entry, message: Message, what| {
            if displaced.insert(message) {
                violations.push(Violation::new(Breach::Reordered, entry, what));
            }
        };
        let Some(&(longest_by, longest)) = self.histories.last() else { return };
        // From the last to the first: a message must not precede one that was acknowledged before
        // it was sent.
        let mut earliest_end = Moment::MAX;
        for &message in longest.iter().rev() {
            let Some(append) = self.appends.get(&message) else { continue };
            if append.time.begin > earliest_end {
                let what =
                    format!("'{message}' precedes one that was acknowledged before it was sent");
                displace(longest_by, message, what);
            }
            if append.seen().is_some() {
                earliest_end = earliest_end.min(append.time.end);
            }
        }
        for &(entry, history) in &self.histories {
            if let Some((&message, other)) =
                history.iter().zip(longest).find(|(here, there)| here != there)
            {
                displace(
                    entry,
                    message,
                    format!("'{message}' is where other readers see '{other}'"),
                );
            }
            for (place, &message) in history.iter().enumerate() {
                let append = self.appends.get(&message);
                if let Some(number) = append.and_then(|append| acknowledged_number(append))
                    && at(history, number) != Some(message)
                {
                    displace(
                        entry,
                        message,
                        format!(
                            "'{message}' is number {}, but was acknowledged as {number}",
                            place + 1
                        ),
                    );
                }
            }
        }
    }

    fn phantoms(&self, violations: &mut Vec<Violation>) {
        let mut made_up = HashSet::new();
        for &(entry, history) in &self.histories {
            // Messages of other sessions are reported as cross-session reads.
            for &message in history.iter().filter(|message| message.session == entry.session) {
                let written = self
                    .appends
                    .get(&message)
                    .is_some_and(|append| self.session.may_have_done(append));
                if !written && made_up.insert(message) {
                    let what = format!("'{message}' is stored, but it was rejected or never sent");
                    violations.push(Violation::new(Breach::Phantom, entry, what));
                }
            }
        }
        let mut made_up = HashSet::new();
        for entry in &self.session.entries {
            let Some(View::Session { patches, .. }) = entry.seen().map(|seen| &seen.view) else {
                continue;
            };
            for (&client, &sequence) in patches {
                let written = self
                    .patches
                    .get(&(client, sequence))
                    .is_some_and(|patch| self.session.may_have_done(patch));
                if !written && made_up.insert((client, sequence)) {
                    let what = format!(
                        "patch {sequence} of client {client} is stored, but it was rejected or \
                         never sent"
                    );
                    violations.push(Violation::new(Breach::Phantom, entry, what));
                }
            }
        }
    }

    /// The final reads must return each created session's history, or report the session gone, by
    /// each of its ids.
    fn readable(&self, violations: &mut Vec<Violation>) {
        let created = self
            .session
            .entries
            .iter()
            .find(|entry| entry.act == Act::Create && entry.seen().is_some());
        let Some(created) = created else { return };
        let claimed = self.session.has_claimed_id().then_some(IdUsed::Claimed);
        for id in [IdUsed::Original].into_iter().chain(claimed) {
            let mut last = self.session.last_reads().filter(|entry| entry.id == id);
            let read = last.any(|entry| match entry.act {
                Act::History => entry.seen().is_some() || entry.outcome == Outcome::Absent,
                _ => entry.outcome == Outcome::Absent,
            });
            if !read {
                let what = format!("its {id:?} id could not be read at the end").to_lowercase();
                violations.push(Violation::new(Breach::Unreadable, created, what));
            }
        }
    }
}

/// The message of that number, from 1.
fn at(history: &[Message], number: u64) -> Option<Message> {
    let place = usize::try_from(number.checked_sub(1)?).ok()?;
    history.get(place).copied()
}
