//! The report as a page.

use anyhow::Result;

use super::{KindReport, Measurement, Report};
use crate::output::plots::{self, Line};
use crate::output::{Page, ToPage};

impl ToPage for Report {
    fn page(&self) -> Result<Page> {
        let Self { settings, .. } = self;
        let about = format!(
            "{}, {} connections of each kind, {} s, {:.0}",
            settings.target, settings.connections, settings.duration_s, self.timestamp
        );
        let mut page = Page::new("Stateless and stateful requests", &about);
        match self.errors() {
            0 => page
                .verdict(true, "Every request succeeded, with the state that its client expected."),
            errors => page.verdict(false, &format!("{errors} requests failed.")),
        }
        if let Some(ratio) = self.comparison.as_ref().and_then(|comparison| comparison.ratio) {
            page.facts([("stateless over stateful requests/s", format!("{ratio:.2}"))]);
        }
        let kinds = [("stateless", &self.stateless), ("stateful", &self.stateful)];
        let kinds: Vec<_> =
            kinds.into_iter().filter_map(|(name, kind)| Some((name, kind.as_ref()?))).collect();
        write(&mut page, &kinds)?;
        Ok(page)
    }
}

/// The sections about loads that are compared.
pub(crate) fn write(page: &mut Page, kinds: &[(&str, &KindReport)]) -> Result<()> {
    page.section("Requests");
    let head = ["", "requests", "failed", "requests/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms"];
    let mut rows = Vec::new();
    for (name, kind) in kinds {
        rows.push(row(name, &kind.total));
        if kind.operations.len() > 1 {
            let operations = kind.operations.iter();
            rows.extend(operations.map(|(operation, m)| row(&format!("– {operation}"), m)));
        }
    }
    page.table(&head, &rows);
    let failures: Vec<Vec<String>> = kinds
        .iter()
        .flat_map(|(name, kind)| {
            kind.total
                .errors_by_kind
                .iter()
                .map(|(error, count)| vec![(*name).to_owned(), error.clone(), count.to_string()])
        })
        .collect();
    if !failures.is_empty() {
        page.section("Failures");
        page.table(&["", "error", "requests"], &failures);
    }
    page.section("Latency");
    let lines: Vec<Line<'_>> = kinds
        .iter()
        .map(|(name, kind)| Line {
            name,
            points: kind.distribution.iter().map(|q| (q.quantile, q.ms)).collect(),
        })
        .collect();
    let caption = "Each step to the right leaves a tenth of the slower requests. In an open loop \
                   a request's latency counts from when it was due.";
    page.plot(&plots::latencies(&lines)?, caption);
    page.section("Throughput");
    let by_second = |name, counts: Vec<u64>| Line {
        name,
        points: (0..).map(f64::from).zip(counts.into_iter().map(|count| count as f64)).collect(),
    };
    let mut lines: Vec<Line<'_>> = kinds
        .iter()
        .map(|(name, kind)| by_second(name, kind.whole_seconds(|second| second.succeeded)))
        .collect();
    let failed = kinds.iter().filter(|(_, kind)| kind.total.errors > 0);
    lines.extend(
        failed.map(|(_, kind)| by_second("failed", kind.whole_seconds(|second| second.failed))),
    );
    page.plot(
        &plots::throughput(&lines, "requests/s")?,
        "Requests that ended in each whole second.",
    );
    for (name, kind) in kinds.iter().filter(|(_, kind)| !kind.instances.is_empty()) {
        page.section(&format!("Who served the {name} requests"));
        page.shares(kind.instances.iter().map(|(name, count)| (name.as_str(), *count)));
        page.text("Why there:");
        page.shares(kind.verdicts.iter().map(|(name, count)| (*name, *count)));
        if let Some(share) = kind.reads_from_memory {
            page.facts([("reads from memory", format!("{:.1} %", 100.0 * share))]);
        }
    }
    Ok(())
}

fn row(name: &str, measured: &Measurement) -> Vec<String> {
    let ms = [measured.p50_ms, measured.p90_ms, measured.p99_ms, measured.p999_ms];
    let counts = [measured.requests.to_string(), measured.errors.to_string()];
    let mut row = vec![name.to_owned()];
    row.extend(counts);
    row.push(format!("{:.0}", measured.rps));
    row.extend(ms.map(|ms| format!("{ms:.2}")));
    row
}

impl KindReport {
    /// Counts by second, without a last one that is not whole.
    fn whole_seconds(&self, count: impl Fn(&super::Second) -> u64) -> Vec<u64> {
        let whole = if self.elapsed_s < 1.0 { usize::MAX } else { self.elapsed_s as usize };
        self.seconds.iter().take(whole).map(count).collect()
    }
}
