//! `loadtest figures`: the proxies' figures of one run, as tables and a plot for the documentation.
//!
//! It reads the JSON of `loadtest bench --json`, so that every figure in the documentation comes
//! from one run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use run::Run;

mod plot;
mod run;
mod tables;

/// Options of `loadtest figures`.
#[derive(Debug, Args)]
pub struct FiguresArgs {
    /// The report of `loadtest bench --parts proxies,idle --json FILE`
    pub report: PathBuf,

    /// Write the plot to this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Replace the tables in this Markdown file, between the comments `figures` and `/figures`,
    /// instead of printing them
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

const BEGIN: &str = "<!-- figures -->\n";
const END: &str = "<!-- /figures -->";

/// Writes the files. Returns the tables if they are to be printed.
///
/// # Errors
/// When a file cannot be read or written, the report has no comparison of proxies, or the Markdown
/// file has no place for the tables.
pub fn figures(args: &FiguresArgs) -> Result<Option<String>> {
    let run = Run::parse(&read(&args.report)?)
        .with_context(|| format!("{} is no report of `loadtest bench`", args.report.display()))?;
    ensure!(
        run.loads().next().is_some(),
        "{} does not compare proxies: run `loadtest bench --parts proxies,idle --json FILE`",
        args.report.display()
    );
    if let Some(file) = &args.svg {
        write(file, &plot::svg(&run)?)?;
    }
    let tables = tables::markdown(&run);
    let Some(file) = &args.into else { return Ok(Some(tables)) };
    let text = replace(&read(file)?, &tables).with_context(|| {
        format!("{} has no lines `{}` and `{END}`", file.display(), BEGIN.trim_end())
    })?;
    write(file, &text)?;
    Ok(None)
}

/// The plot of a report; `None` if it compares no proxies by connections.
pub(super) fn plot_of(report: &impl Serialize) -> Result<Option<String>> {
    let run = Run::parse(&serde_json::to_string(report)?)?;
    let is_plotted = run.loads().any(|(load, _)| load.workload == "small");
    is_plotted.then(|| plot::svg(&run)).transpose()
}

/// Replaces what is between the comments; `None` without them.
fn replace(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{tables}{END}{after}"))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_comments_is_replaced() {
        let text = "a\n<!-- figures -->\nold\n<!-- /figures -->\nb\n";
        let expected = "a\n<!-- figures -->\nnew\n<!-- /figures -->\nb\n";
        assert_eq!(replace(text, "new\n").as_deref(), Some(expected));
        assert_eq!(replace("a\n", "new\n"), None);
        assert_eq!(replace("<!-- figures -->\n", "new\n"), None);
    }
}
