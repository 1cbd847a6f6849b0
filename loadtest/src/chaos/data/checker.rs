//! Finds violations in the ledger of products, files and accounts, and in the audit log.
//!
//! As of sessions, it reports only certain violations: none where an unknown outcome or two
//! overlapping operations could explain what was seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::chaos::data::ledger::{Act, Entry, FileNumber, Name, ProductNumber, Seen};
use crate::chaos::ledger::Repetition;

mod facts;
mod files;
mod products;
#[cfg(test)]
mod tests;
mod timeline;
mod users;
mod violation;

pub(crate) use facts::{Facts, Oldest};
pub(crate) use violation::{Breach, Violation};

/// What the checker found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// In the order in which they happened.
    pub(crate) violations: Vec<Violation>,
    pub(crate) oldest: Oldest,
}

impl Findings {
    pub(crate) fn count(&self, breach: Breach) -> u64 {
        self.violations.iter().filter(|violation| violation.breach == breach).count() as u64
    }
}

/// Checks a run.
pub(crate) fn check(facts: Facts<'_>) -> Findings {
    let (mut violations, mut oldest) = (Vec::new(), Oldest::default());
    let mut products: BTreeMap<ProductNumber, Vec<&Entry>> = BTreeMap::new();
    let mut files: BTreeMap<FileNumber, Vec<&Entry>> = BTreeMap::new();
    let mut users: BTreeMap<&Name, Vec<&Entry>> = BTreeMap::new();
    let mut owned: BTreeMap<&Name, BTreeSet<FileNumber>> = BTreeMap::new();
    for entry in facts.entries {
        match &entry.act {
            Act::CreateProduct { product, .. }
            | Act::ChangeProduct { product, .. }
            | Act::Reserve { product, .. }
            | Act::DeleteProduct(product)
            | Act::ReadProduct(product) => products.entry(*product).or_default().push(entry),
            Act::Upload { file, owner } => {
                owned.entry(owner).or_default().insert(*file);
                files.entry(*file).or_default().push(entry);
            }
            Act::DeleteFile(file) | Act::ReadFile(file) | Act::Download(file) => {
                files.entry(*file).or_default().push(entry);
            }
            Act::Register(name) | Act::LogIn(name) | Act::FindUser(name) => {
                users.entry(name).or_default().push(entry);
            }
            Act::ListProducts | Act::ListFiles(_) => {}
            Act::Repeat(_) => violations.extend(different_replay(entry)),
        }
    }
    // Whoever lists them says something about each product, and about each file of the user.
    for entry in facts.entries {
        match (&entry.act, entry.seen()) {
            (Act::ListProducts, Some(_)) => {
                products.values_mut().for_each(|entries| entries.push(entry));
            }
            (Act::ListFiles(of), Some(Seen::Files(shown))) => {
                let mut about: BTreeSet<_> = shown.iter().map(|seen| seen.file).collect();
                about.extend(owned.get(of).into_iter().flatten());
                for number in about {
                    files.entry(number).or_default().push(entry);
                }
            }
            _ => {}
        }
    }
    for (number, entries) in &products {
        products::check(&facts, *number, entries, &mut oldest, &mut violations);
    }
    for (number, entries) in &files {
        files::check(&facts, *number, entries, &mut violations);
    }
    for (name, entries) in &users {
        users::check(&facts, name, entries, &mut violations);
    }
    violations
        .sort_by(|a, b| (a.end_ms, &a.subject, a.breach).cmp(&(b.end_ms, &b.subject, b.breach)));
    Findings { violations, oldest }
}

fn different_replay(entry: &Entry) -> Option<Violation> {
    let is_different = entry.seen() == Some(&Seen::Repeated(Repetition::Different));
    let what = "was repeated under its key and got a different response".to_owned();
    let subject = format!("an acknowledged {}", entry.act.as_str());
    is_different.then(|| Violation::new(Breach::Doubled, &subject, entry, what))
}
