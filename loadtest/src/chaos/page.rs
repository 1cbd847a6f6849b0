//! The report as a page.

use anyhow::Result;

use super::report::ChaosReport;
use crate::output::plots::{self, Span};
use crate::output::{Page, ToPage};

impl ToPage for ChaosReport {
    fn page(&self) -> Result<Page> {
        let Self { store, clients, duration_s, seed, .. } = self;
        let about = format!("store {store}, {clients} clients, {duration_s:.0} s, seed {seed}");
        let mut page = Page::new("Faults under load", &about);
        page.verdict(self.holds(), self.verdict());
        page.section("Timeline");
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let spans: Vec<Span<'_>> = self
            .faults
            .iter()
            .map(|fault| Span {
                name: fault.kind.as_str(),
                begin_s: seconds(fault.begin_ms),
                end_s: seconds(fault.end_ms),
                failed: fault.errors,
            })
            .collect();
        let plot = plots::timeline(&spans, &self.errors_by_second, *duration_s)?;
        page.plot(
            &plot,
            "Above: each fault, from its injection until the system had recovered, with the \
             requests that failed meanwhile. Below: requests that failed, by second.",
        );
        page.section("Ledger");
        let counts = self.counts().into_iter().chain(self.data.counts());
        page.facts(counts.map(|(name, count)| (name.replace('_', " "), count.to_string())));
        if !self.errors_by_kind.is_empty() {
            page.section("How requests failed");
            page.shares(self.errors_by_kind.iter().map(|(kind, count)| (kind.as_str(), *count)));
        }
        let mut violations = self.violations().peekable();
        if violations.peek().is_some() {
            page.section("Violations: the first of each kind");
            violations.for_each(|violation| page.text(&violation));
        }
        page.section("Faults");
        let rows: Vec<Vec<String>> = self
            .faults
            .iter()
            .map(|fault| {
                let mut row = vec![format!("{}, {}", fault.kind.as_str(), fault.target)];
                row.extend(
                    [fault.begin_ms, fault.undone_ms, fault.end_ms]
                        .map(|ms| format!("{:.1}", seconds(ms))),
                );
                row.push(fault.errors.to_string());
                row
            })
            .collect();
        page.table(&["", "begin s", "undone s", "recovered s", "failed"], &rows);
        Ok(page)
    }
}
