//! The report as a page.

use anyhow::Result;

use super::figures;
use super::report::{BenchReport, Bound, Ratio, Section};
use crate::output::{Page, ToPage};

impl ToPage for BenchReport {
    fn page(&self) -> Result<Page> {
        let (machine, plan) = (&self.machine, &self.plan);
        let about = format!(
            "{:.0}, {machine}; median (minimum–maximum) of {} rounds of {} s",
            self.timestamp, plan.rounds, plan.round_s
        );
        let mut page = Page::new("What requests cost", &about);
        match self.is_sound() {
            true => page.verdict(true, "Every request succeeded."),
            false => page.verdict(false, "Some requests failed: their figures mean little."),
        }
        if let Some(svg) = figures::plot_of(self)? {
            page.plot(&svg, "Both axes are logarithmic. Vertical bars: lowest to highest round.");
        }
        self.sections.iter().for_each(|section| section.write(&mut page));
        Ok(page)
    }
}

impl Section {
    fn write(&self, page: &mut Page) {
        page.section(&self.title);
        let processes: Vec<String> = self
            .rows
            .first()
            .map(|row| row.cpu_us.iter().map(|cpu| format!("{} µs", cpu.process)).collect())
            .unwrap_or_default();
        let mut head = vec!["", "requests/s", "p99 ms"];
        head.extend(processes.iter().map(String::as_str));
        head.extend(["from memory", "failed"]);
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let mut cells = vec![
                    row.name.clone(),
                    format!("{:.0}", row.rps),
                    row.p99_ms.map(|p99| format!("{p99:.2}")).unwrap_or_default(),
                ];
                cells.extend(row.cpu_us.iter().map(|cpu| format!("{:.1}", cpu.us)));
                let share = row.from_memory.map(|share| format!("{:.2} %", 100.0 * share));
                cells.extend([share.unwrap_or_default(), row.failed.to_string()]);
                cells
            })
            .collect();
        page.table(&head, &rows);
        let ratios: Vec<Vec<String>> = self.ratios.iter().map(Ratio::cells).collect();
        if !ratios.is_empty() {
            page.table(&["", "ratio", "bound", ""], &ratios);
        }
        self.errors.iter().for_each(|error| page.text(&format!("Wrong response of {error}")));
        if let Some(memory) = &self.memory {
            page.facts([
                ("hot sessions", memory.hot_sessions.to_string()),
                ("bytes each", format!("{:.0}", memory.bytes_per_session)),
            ]);
        }
        let idle: Vec<Vec<String>> = self
            .idle
            .iter()
            .map(|idle| {
                let bytes = format!("{:.0}", idle.bytes_per_client);
                vec![idle.name.to_owned(), idle.clients.to_string(), bytes]
            })
            .collect();
        if !idle.is_empty() {
            page.table(&["", "idle clients", "bytes each"], &idle);
        }
    }
}

impl Ratio {
    fn cells(&self) -> Vec<String> {
        let bound = match self.bound {
            Some(Bound::AtLeast(bound)) => format!("≥ {bound}"),
            Some(Bound::AtMost(bound)) => format!("≤ {bound}"),
            None => String::new(),
        };
        let kept = if self.is_kept() { "" } else { "out of bounds" };
        vec![self.name.clone(), format!("{:.3}", self.ratio), bound, kept.to_owned()]
    }
}
