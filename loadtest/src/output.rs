//! Where a report goes: standard output, a file of JSON, an HTML page that is read offline.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

mod page;
pub(crate) mod plots;

pub use page::Page;

/// A report that can be written as a page.
pub trait ToPage {
    /// The page.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    fn page(&self) -> Result<Page>;
}

/// Files for a report.
#[derive(Clone, Debug, Default, Args)]
pub struct ReportFiles {
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write the report to this file as a page with plots, which a browser opens offline
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl ReportFiles {
    /// Prints the report, and writes these files.
    ///
    /// # Errors
    /// When a plot cannot be drawn, or the report cannot be written.
    pub(crate) fn publish<R: fmt::Display + Serialize + ToPage>(&self, report: &R) -> Result<()> {
        publish(report, self.json.as_deref())?;
        let Some(file) = &self.html else { return Ok(()) };
        write(file, report.page()?.to_string().as_bytes())
    }
}

/// Prints the report, and writes it to this file as JSON.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn publish<R: fmt::Display + Serialize>(report: &R, json: Option<&Path>) -> Result<()> {
    write!(std::io::stdout().lock(), "{report}").context("cannot write to standard output")?;
    let Some(file) = json else { return Ok(()) };
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    write(file, &text)
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}
