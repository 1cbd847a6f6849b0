//! The report: a table by section, what was not run, and what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What came of one section.
#[derive(Debug, Serialize)]
pub struct SectionReport {
    /// Its heading.
    pub section: String,
    /// The line of its heading.
    pub line: usize,
    /// Commands that ran.
    pub commands: usize,
    /// Requests meanwhile.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// What failed and how.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// What the section says of failed requests.
    pub promise: Option<String>,
}

/// A command that does not run on the local stack.
#[derive(Debug, Serialize)]
pub struct NotRun {
    /// Its line.
    pub line: usize,
    /// The command.
    pub command: String,
    /// Why it was not run.
    pub reason: &'static str,
}

/// What `loadtest runbook` found.
#[derive(Debug, Default, Serialize)]
pub struct RunbookReport {
    /// Those with commands that run here, in order.
    pub sections: Vec<SectionReport>,
    /// The others' commands.
    pub not_run: Vec<NotRun>,
    /// What is wrong, each with its line.
    pub wrong: Vec<String>,
}

impl RunbookReport {
    /// Whether every command succeeded and every promise held.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl fmt::Display for RunbookReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<44}{:>9}{:>10}{:>8}  promise",
            "section", "commands", "requests", "failed"
        )?;
        for SectionReport { section, commands, requests, failed, promise, .. } in &self.sections {
            let promise = promise.as_deref().unwrap_or("MISSING");
            writeln!(f, "{section:<44}{commands:>9}{requests:>10}{failed:>8}  {promise}")?;
        }
        let sum = |of: fn(&SectionReport) -> u64| self.sections.iter().map(of).sum::<u64>();
        let commands: usize = self.sections.iter().map(|section| section.commands).sum();
        writeln!(
            f,
            "{:<44}{commands:>9}{:>10}{:>8}\n",
            "",
            sum(|s| s.requests),
            sum(|s| s.failed)
        )?;
        writeln!(f, "not run here: {}", self.not_run.len())?;
        for NotRun { line, command, reason } in &self.not_run {
            writeln!(f, "  line {line}: {command}: {reason}")?;
        }
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "wrong: {wrong}"))
    }
}
