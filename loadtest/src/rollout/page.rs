//! The report as a page.

use anyhow::Result;

use super::report::RolloutReport;
use crate::output::plots::{self, Span};
use crate::output::{Page, ToPage};

impl ToPage for RolloutReport {
    fn page(&self) -> Result<Page> {
        let Self { operations, leases, p99s, timeline, load } = self;
        let about = format!(
            "{:.0} s, {} requests/s due, {:.0} sent",
            load.duration_s, load.rate, load.requests_per_s
        );
        let mut page = Page::new("Operations under load", &about);
        match self.is_clean() {
            true => page.verdict(true, "No request failed, and no stream had a gap."),
            false => page.verdict(
                false,
                &format!(
                    "{} requests failed; {} of {} leases were released.",
                    load.failed, leases.released, leases.stops
                ),
            ),
        }
        page.facts([
            ("requests", load.requests.to_string()),
            ("failed", load.failed.to_string()),
            ("streams followed", load.streams.followed.to_string()),
            ("times resumed", load.streams.resumed.to_string()),
            ("leases released", format!("{} of {}", leases.released, leases.stops)),
        ]);
        page.section("Timeline");
        let spans: Vec<Span<'_>> = timeline
            .iter()
            .map(|time| Span {
                name: &time.operation,
                begin_s: time.begin_s,
                end_s: time.end_s,
                failed: 0,
            })
            .collect();
        let plot = plots::timeline(&spans, &load.failed_by_second, load.duration_s)?;
        page.plot(&plot, "Above: when each operation ran. Below: requests that failed.");
        page.section("Operations");
        page.facts(operations.counts().map(|(name, count)| (name, count.to_string())));
        let p99s = [
            ("undisturbed", p99s.quiet_ms),
            ("during stateless restarts", p99s.rolling_stateless_ms),
            ("during stateful restarts", p99s.rolling_stateful_ms),
        ];
        page.section("p99");
        let p99s = p99s.into_iter().filter_map(|(name, p99)| Some((name, p99?)));
        page.bars(p99s, "ms");
        if !load.failed_by_kind.is_empty() {
            page.section("Failures");
            let rows = load.failed_by_kind.iter();
            let rows: Vec<_> =
                rows.map(|(kind, count)| vec![kind.clone(), count.to_string()]).collect();
            page.table(&["request and error", "failed"], &rows);
        }
        Ok(page)
    }
}
