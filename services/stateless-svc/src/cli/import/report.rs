//! What an import prints: a line for each row, the counts, and how far it is.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::domain::import::Fate;

/// The rows that are listed without `--report`.
const FEW: u64 = 20;

/// Lists the rows: all of them with `--report`, else the first that were not imported.
pub(super) struct Report {
    lines: Option<Box<dyn Write>>,
    listed: u64,
}

impl Report {
    /// Into this file; `-` is standard output.
    pub(super) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let lines: Option<Box<dyn Write>> = match file {
            None => None,
            Some(file) if file == Path::new("-") => Some(Box::new(std::io::stdout())),
            Some(file) => {
                let created = File::create(file);
                let created =
                    created.with_context(|| format!("cannot write {}", file.display()))?;
                Some(Box::new(BufWriter::new(created)))
            }
        };
        Ok(Self { lines, listed: 0 })
    }

    /// Lists what became of a valid row.
    pub(super) fn row(&mut self, place: Place<'_>, id: &str, fate: &Fate) -> anyhow::Result<()> {
        match fate {
            Fate::Inserted => self.line(false, format_args!("{place}: inserted: {id}")),
            Fate::Skipped => self.line(false, format_args!("{place}: skipped: {id}")),
            Fate::Conflict(why) => self.line(true, format_args!("{place}: conflict: {id}: {why}")),
        }
    }

    /// Lists an invalid row.
    pub(super) fn invalid(
        &mut self,
        place: Place<'_>,
        faults: &[impl Display],
    ) -> anyhow::Result<()> {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        self.line(true, format_args!("{place}: invalid: {}", faults.join("; ")))
    }

    /// Ends the list.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if let Some(lines) = &mut self.lines {
            return lines.flush().context("cannot write the report");
        }
        if self.listed > FEW {
            let more = HumanCount(self.listed - FEW);
            let _unread =
                writeln!(std::io::stderr(), "… and {more} more rows: --report FILE lists all");
        }
        Ok(())
    }

    fn line(&mut self, is_exception: bool, line: impl Display) -> anyhow::Result<()> {
        if let Some(lines) = &mut self.lines {
            return writeln!(lines, "{line}").context("cannot write the report");
        }
        if is_exception {
            self.listed += 1;
            if self.listed <= FEW {
                let _unread = writeln!(std::io::stderr(), "{line}");
            }
        }
        Ok(())
    }
}

/// A line of a file.
#[derive(Clone, Copy)]
pub(super) struct Place<'a>(pub(super) &'a Path, pub(super) u64);

impl Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}

/// How many rows of a file became what.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) inserted: u64,
    pub(super) skipped: u64,
    pub(super) conflicts: u64,
    pub(super) invalid: u64,
}

impl Counts {
    pub(super) fn add(&mut self, fate: &Fate) {
        match fate {
            Fate::Inserted => self.inserted += 1,
            Fate::Skipped => self.skipped += 1,
            Fate::Conflict(_) => self.conflicts += 1,
        }
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inserted, skipped, conflicts, invalid } = self;
        write!(
            f,
            "{inserted} inserted, {skipped} skipped, {conflicts} conflicts, {invalid} invalid"
        )
    }
}

/// How far the import of a file is, on standard error: a bar on a terminal, else ten lines.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    file: PathBuf,
    rows: usize,
    done: usize,
}

impl Progress {
    pub(super) fn new(file: &Path, rows: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {human_pos} rows, {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            ProgressBar::new(rows).with_style(style).with_prefix(file.display().to_string())
        });
        Self { bar, file: file.to_owned(), rows, done: 0 }
    }

    pub(super) fn advance(&mut self, rows: usize) {
        let tenth = |done: usize| done * 10 / self.rows.max(1);
        let done = self.done + rows;
        match &self.bar {
            Some(bar) => bar.inc(u64::try_from(rows).unwrap_or(u64::MAX)),
            None if tenth(done) > tenth(self.done) => {
                let (file, rows) = (self.file.display(), self.rows);
                let _unread = writeln!(std::io::stderr(), "{file}: {done} of {rows} rows");
            }
            None => {}
        }
        self.done = done;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
