//! The report: a table by section, the commands that were not run, and the problems.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The result of one section.
#[derive(Debug, Serialize)]
pub struct SectionReport {
    /// Its heading.
    pub section: String,
    /// The line of its heading.
    pub line: usize,
    /// Commands that ran.
    pub commands: usize,
    /// Requests while they ran.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Failures by request and error.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// What the section promises about requests.
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

/// The result of `loadtest runbook`.
#[derive(Debug, Default, Serialize)]
pub struct RunbookReport {
    /// Sections with commands that ran, in order.
    pub sections: Vec<SectionReport>,
    /// Commands that were not run.
    pub not_run: Vec<NotRun>,
    /// Problems, each with its line.
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
