//! Checks one file: its bytes, and whether its owner has it.

use super::facts::{Facts, account};
use super::violation::{Breach, Violation};
use crate::chaos::data::ledger::{Act, Audited, Entry, FileNumber, FileSeen, Outcome, Seen};

/// Checks all acts on a file: `entries`, with the lists of its owner.
pub(super) fn check(
    facts: &Facts<'_>,
    number: FileNumber,
    entries: &[&Entry],
    violations: &mut Vec<Violation>,
) {
    let file = File { facts, number, entries, subject: format!("file {number}") };
    file.check_bytes(violations);
    file.check_presence(violations);
    file.check_copies(violations);
    if let Some(audit) = facts.audit {
        file.check_audit(audit, violations);
    }
}

struct File<'a> {
    facts: &'a Facts<'a>,
    number: FileNumber,
    entries: &'a [&'a Entry],
    subject: String,
}

impl<'a> File<'a> {
    fn found(&self, breach: Breach, entry: &Entry, what: String) -> Violation {
        Violation::new(breach, &self.subject, entry, what)
    }

    /// What a response shows of this file.
    fn shown(&self, entry: &'a Entry) -> Vec<&'a FileSeen> {
        match entry.seen() {
            Some(Seen::File(seen)) => vec![seen],
            Some(Seen::Files(files)) => {
                files.iter().filter(|seen| seen.file == self.number).collect()
            }
            _ => Vec::new(),
        }
    }

    fn upload(&self) -> Option<&'a Entry> {
        self.entries.iter().copied().find(|entry| matches!(entry.act, Act::Upload { .. }))
    }

    fn deletes(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied().filter(|entry| matches!(entry.act, Act::DeleteFile(_)))
    }

    fn check_bytes(&self, violations: &mut Vec<Violation>) {
        for entry in self.entries {
            let is_corrupt = matches!(entry.seen(), Some(Seen::Content { is_intact: false }))
                || self.shown(entry).iter().any(|seen| !seen.is_intact);
            if is_corrupt {
                let what = format!("a {} shows other bytes than were sent", entry.act.as_str());
                violations.push(self.found(Breach::Corrupt, entry, what));
            }
        }
    }

    fn check_presence(&self, violations: &mut Vec<Violation>) {
        let upload = self.upload();
        let since = upload.filter(|entry| entry.seen().is_some()).map(|entry| entry.time.end);
        let maybe_gone =
            self.deletes().filter(|entry| entry.may_be_done()).map(|entry| entry.time.begin).min();
        let gone =
            self.deletes().filter(|entry| entry.seen().is_some()).map(|entry| entry.time.end).min();
        for entry in self.entries {
            let act = entry.act.as_str();
            let is_in_list = !self.shown(entry).is_empty();
            let is_missing = match (&entry.act, &entry.outcome) {
                (Act::Upload { .. }, _) => false,
                (_, Outcome::Absent) => true,
                (Act::ListFiles(_), Outcome::Done(_)) => !is_in_list,
                _ => false,
            };
            let must_be = since.is_some_and(|since| since < entry.time.begin)
                && maybe_gone.is_none_or(|gone| entry.time.end < gone);
            if is_missing && must_be {
                violations.push(self.found(Breach::Lost, entry, format!("a {act} lacks it")));
            }
            let is_there = match &entry.act {
                Act::ListFiles(_) => is_in_list,
                _ => entry.seen().is_some(),
            };
            if is_there && gone.is_some_and(|gone| gone < entry.time.begin) {
                let what = format!("a {act} found it after its deletion");
                violations.push(self.found(Breach::Resurrected, entry, what));
            }
            if is_in_list && upload.is_none_or(|upload| !upload.may_be_done()) {
                let what = format!("a {act} shows it, but its upload was rejected");
                violations.push(self.found(Breach::Phantom, entry, what));
            }
            if let Act::ListFiles(of) = &entry.act
                && is_in_list
                && upload.is_some_and(
                    |upload| !matches!(&upload.act, Act::Upload { owner, .. } if owner == of),
                )
            {
                let what = format!("a {act} of {of} shows it, who is not its owner");
                violations.push(self.found(Breach::Phantom, entry, what));
            }
            let is_last = entry.time.begin >= self.facts.settled
                && matches!(entry.act, Act::ReadFile(_) | Act::Download(_));
            if is_last && !matches!(entry.outcome, Outcome::Done(_) | Outcome::Absent) {
                let what = format!("a {act} failed at the end");
                violations.push(self.found(Breach::Unreadable, entry, what));
            }
        }
    }

    /// One upload makes one file.
    fn check_copies(&self, violations: &mut Vec<Violation>) {
        let mut known: Option<&str> = None;
        for entry in self.entries {
            for seen in self.shown(entry) {
                match known {
                    None => known = Some(&seen.id),
                    Some(known) if known == seen.id => {}
                    Some(known) => {
                        let what = format!("it is there twice: {known} and {}", seen.id);
                        violations.push(self.found(Breach::Doubled, entry, what));
                        return;
                    }
                }
            }
        }
    }

    fn check_audit(&self, audit: &[Audited], violations: &mut Vec<Violation>) {
        let count = |of: &Audited| audit.iter().filter(|entry| *entry == of).count();
        let mut compare = |entry: &Entry, of: &Audited| {
            let found = account(entry, count(of));
            violations.extend(found.map(|(breach, what)| {
                Violation::in_audit(breach, &self.subject, self.facts.settled, what)
            }));
        };
        if let Some(upload) = self.upload() {
            compare(upload, &Audited::Uploaded(self.number));
        }
        for delete in self.deletes().filter(|entry| entry.may_be_done()) {
            compare(delete, &Audited::FileDeleted(self.number));
        }
    }
}
