//! Load for Tandem, measured honestly.
//!
//! A command of [`cli`] becomes a validated [`plan`]. [`compare`] runs its phases, one per kind of call: `phase` connects
//! the workers and sets them to work in a closed or an open loop (`closed_loop`, `open_loop`); each worker plays a
//! `scenario` over one connection of its own (`client`) and tells a `recorder`. [`report`] makes the table and the
//! JSON of what was recorded.
//!
//! **Invariant:** a request that was begun, or in an open loop was due, is in the report exactly once, whatever became of it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Command;
use crate::plan::Plan;
use crate::report::Report;

pub mod cli;
pub mod plan;
pub mod report;
pub mod target;

mod client;
mod closed_loop;
mod compare;
mod open_loop;
mod phase;
mod progress;
mod recorder;
mod scenario;

pub use cli::Cli;
pub use compare::compare;

/// How the process ends.
pub mod exit {
    use std::process::ExitCode;

    /// Every request succeeded.
    pub const CLEAN: ExitCode = ExitCode::SUCCESS;
    /// Some requests failed, the target could not be reached, or the report could not be written.
    pub const ERRORS: ExitCode = ExitCode::FAILURE;

    /// The command line makes no sense: 64, `EX_USAGE`.
    pub fn usage() -> ExitCode {
        ExitCode::from(64)
    }
}

/// Runs the command, prints its report on standard output and tells how the process should end.
pub async fn run(cli: Cli) -> ExitCode {
    let Command::Compare(args) = cli.command;
    let plan = match Plan::from_args(&args).await {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error.into());
            return exit::usage();
        }
    };
    match compare_and_report(&plan, args.json.as_deref()).await {
        Ok(report) if report.errors() == 0 => exit::CLEAN,
        Ok(_) => exit::ERRORS,
        Err(error) => {
            complain(&error);
            exit::ERRORS
        }
    }
}

async fn compare_and_report(plan: &Plan, json: Option<&Path>) -> anyhow::Result<Report> {
    let report = compare(plan).await?;
    write!(std::io::stdout().lock(), "{report}").context("cannot write to standard output")?;
    if let Some(file) = json {
        let mut text = serde_json::to_vec_pretty(&report)?;
        text.push(b'\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report)
}

fn complain(error: &anyhow::Error) {
    eprintln!("loadtest: {error:#}");
}
