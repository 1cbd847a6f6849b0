//! The part of the report about products, files and accounts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chaos::data::checker::{Breach, Findings, Violation};
use crate::chaos::data::ledger::{Act, Entry, Outcome};

/// How many violations of each kind are described; all are counted.
const EXAMPLES: usize = 5;

/// What happened to products, files and accounts.
#[derive(Debug, Serialize)]
pub struct DataReport {
    /// Requests, repetitions and the final reading included.
    pub requests: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Users who registered.
    pub registrations: u64,
    /// Logins of those.
    pub logins: u64,
    /// Products that were created.
    pub products: u64,
    /// Changes of products.
    pub product_changes: u64,
    /// Products and files that were deleted.
    pub deletes: u64,
    /// Reservations.
    pub reservations: u64,
    /// Units that were reserved.
    pub units: u64,
    /// Reservations that the stock did not suffice for.
    pub out_of_stock: u64,
    /// Files that were uploaded.
    pub uploads: u64,
    /// Whole or partial downloads.
    pub downloads: u64,
    /// Responses with products.
    pub product_reads: u64,
    /// Of these, copies of Nginx's cache, once for each product shown.
    pub copies: u64,
    /// How long a newer state had been known when the oldest copy was requested, milliseconds.
    pub oldest_copy_ms: u64,
    /// Entries of the audit log that were compared; `None` without an admin who may read it.
    pub audit_entries: Option<u64>,
    /// Writes of unknown outcome that became known by repeating them.
    pub unknown_resolved: u64,
    /// Writes whose outcome stayed unknown.
    pub unknown: u64,
    /// Acknowledged writes that are gone, or are not in the audit log.
    pub lost: u64,
    /// Writes that were executed twice.
    pub doubled: u64,
    /// Responses older than API.md says.
    pub stale: u64,
    /// Files that differ from what was uploaded.
    pub corrupt: u64,
    /// Products and files that were seen after their deletion.
    pub resurrected: u64,
    /// Stocks that are negative or differ from what was reserved.
    pub wrong_stock: u64,
    /// Data that no client wrote.
    pub phantoms: u64,
    /// What could not be read at the end.
    pub unreadable: u64,
    /// The first violations of each kind.
    violations: Vec<Violation>,
}

/// What it is made of.
pub(crate) struct DataResults {
    pub(crate) entries: Vec<Entry>,
    pub(crate) requests: u64,
    pub(crate) unknown_resolved: u64,
    pub(crate) audit_entries: Option<u64>,
    pub(crate) findings: Findings,
}

impl DataReport {
    pub(crate) fn new(results: DataResults) -> Self {
        let DataResults { entries, requests, unknown_resolved, audit_entries, findings } = results;
        let done = |is_counted: fn(&Act) -> bool| {
            let counted = entries.iter().filter(|entry| is_counted(&entry.act));
            counted.filter(|entry| entry.seen().is_some()).count() as u64
        };
        let with = |outcome: &Outcome| {
            entries.iter().filter(|entry| entry.outcome == *outcome && entry.act.is_write()).count()
                as u64
        };
        let units = entries.iter().filter(|entry| entry.seen().is_some()).map(|entry| {
            if let Act::Reserve { quantity, .. } = entry.act {
                u64::from(quantity.unsigned_abs())
            } else {
                0
            }
        });
        Self {
            requests,
            acknowledged: done(Act::is_write),
            registrations: done(|act| matches!(act, Act::Register(_))),
            logins: done(|act| matches!(act, Act::LogIn(_))),
            products: done(|act| matches!(act, Act::CreateProduct { .. })),
            product_changes: done(|act| matches!(act, Act::ChangeProduct { .. })),
            deletes: done(|act| matches!(act, Act::DeleteProduct(_) | Act::DeleteFile(_))),
            reservations: done(|act| matches!(act, Act::Reserve { .. })),
            units: units.sum(),
            out_of_stock: with(&Outcome::OutOfStock),
            uploads: done(|act| matches!(act, Act::Upload { .. })),
            downloads: done(|act| matches!(act, Act::Download(_))),
            product_reads: done(|act| matches!(act, Act::ReadProduct(_) | Act::ListProducts)),
            copies: findings.oldest.copies,
            oldest_copy_ms: u64::try_from(findings.oldest.age.as_millis()).unwrap_or(u64::MAX),
            audit_entries,
            unknown_resolved,
            unknown: with(&Outcome::Unknown),
            lost: findings.count(Breach::Lost),
            doubled: findings.count(Breach::Doubled),
            stale: findings.count(Breach::Stale),
            corrupt: findings.count(Breach::Corrupt),
            resurrected: findings.count(Breach::Resurrected),
            wrong_stock: findings.count(Breach::WrongStock),
            phantoms: findings.count(Breach::Phantom),
            unreadable: findings.count(Breach::Unreadable),
            violations: examples(findings.violations),
        }
    }

    /// Whether every guarantee held.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// The counts by their names in the report.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = vec![
            ("data_requests", self.requests),
            ("data_acknowledged", self.acknowledged),
            ("registrations", self.registrations),
            ("logins", self.logins),
            ("products", self.products),
            ("product_changes", self.product_changes),
            ("product_reads", self.product_reads),
            ("product_copies", self.copies),
            ("oldest_copy_ms", self.oldest_copy_ms),
            ("reservations", self.reservations),
            ("reserved_units", self.units),
            ("out_of_stock", self.out_of_stock),
            ("uploads", self.uploads),
            ("downloads", self.downloads),
            ("data_deletes", self.deletes),
        ];
        counts.extend(self.audit_entries.map(|entries| ("audit_entries", entries)));
        counts.extend([
            ("data_unknown_resolved", self.unknown_resolved),
            ("data_unknown", self.unknown),
            ("data_lost", self.lost),
            ("data_doubled", self.doubled),
            ("data_stale", self.stale),
            ("data_corrupt", self.corrupt),
            ("data_resurrected", self.resurrected),
            ("data_wrong_stock", self.wrong_stock),
            ("data_phantoms", self.phantoms),
            ("data_unreadable", self.unreadable),
        ]);
        counts
    }

    /// The first violations of each kind, as text.
    pub(crate) fn examples(&self) -> impl Iterator<Item = String> {
        self.violations.iter().map(Violation::to_string)
    }
}

fn examples(violations: Vec<Violation>) -> Vec<Violation> {
    let mut counts: BTreeMap<Breach, usize> = BTreeMap::new();
    let mut is_early = |violation: &Violation| {
        let count = counts.entry(violation.breach).or_default();
        *count += 1;
        *count <= EXAMPLES
    };
    violations.into_iter().filter(|violation| is_early(violation)).collect()
}
