//! Load for Tandem, measured honestly.
//!
//! A command of [`cli`] becomes a validated [`plan`]. [`compare`] runs its phases, one per kind of call: `phase` connects
//! the workers and sets them to work in a closed or an open loop (`closed_loop`, `open_loop`); each worker plays a
//! `scenario` over one connection of its own (`client`) and tells a `recorder`. [`report`] makes the table and the
//! JSON of what was recorded. [`mod@bench`] measures what the system costs, by process; [`chaos`] is a world of its own: it
//! checks promises instead of measuring speed. [`rollout`] does what operators do, [`abuse`] what a hostile client does; both count what
//! fails of the requests of others.
//!
//! **Invariant of a comparison:** a request that was begun, or in an open loop was due, is in the report exactly once,
//! whatever became of it.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::plan::BenchPlan;
use crate::bench::report::BenchReport;
use crate::chaos::plan::ChaosPlan;
use crate::chaos::report::ChaosReport;
use crate::cli::{
    AbuseArgs, BenchArgs, ChaosArgs, Command, CompareArgs, DuringArgs, FaultsArgs, RolloutArgs, RunbookArgs,
};
use crate::plan::Plan;
use crate::report::Report;
use crate::target::InvalidTarget;

pub mod abuse;
pub mod bench;
pub mod chaos;
pub mod cli;
pub mod faults;
pub mod plan;
pub mod report;
pub mod rollout;
pub mod runbook;
pub mod target;

mod client;
mod closed_loop;
mod compare;
mod mistakes;
mod open_loop;
mod origin;
mod phase;
mod progress;
mod recorder;
mod request;
mod scenario;

pub use cli::Cli;
pub use compare::compare;

/// How the process ends.
pub mod exit {
    use std::process::ExitCode;

    /// Every request succeeded, or every guarantee held.
    pub const CLEAN: ExitCode = ExitCode::SUCCESS;
    /// Some requests failed, a guarantee broke, the target could not be reached, or the report could not be written.
    pub const ERRORS: ExitCode = ExitCode::FAILURE;

    /// The command line makes no sense: 64, `EX_USAGE`.
    pub fn usage() -> ExitCode {
        ExitCode::from(64)
    }
}

/// Runs the command, prints its report on standard output and tells how the process should end.
pub async fn run(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Compare(args) => run_compare(&args).await,
        Command::Chaos(args) => run_chaos(&args).await,
        Command::Faults(args) => run_faults(&args).await,
        Command::Runbook(args) => run_runbook(&args).await,
        Command::Rollout(args) => run_rollout(&args).await,
        Command::Abuse(args) => run_abuse(&args).await,
        Command::During(args) => run_during(&args).await,
        Command::Bench(args) => run_bench(&args).await,
        Command::Origins(args) => origin::serve(&args.names).await.map(|()| Verdict::Clean).map_err(Failure::Run),
    };
    match ended {
        Ok(Verdict::Clean) => exit::CLEAN,
        Ok(Verdict::Errors) => exit::ERRORS,
        Err(Failure::Usage(error)) => {
            complain(&error);
            exit::usage()
        }
        Err(Failure::Run(error)) => {
            complain(&error);
            exit::ERRORS
        }
    }
}

/// What a report comes to.
enum Verdict {
    Clean,
    Errors,
}

/// Why there is no report.
enum Failure {
    Usage(anyhow::Error),
    Run(anyhow::Error),
}

async fn run_compare(args: &CompareArgs) -> Result<Verdict, Failure> {
    let plan = Plan::from_args(args).await.map_err(|error| Failure::Usage(error.into()))?;
    let report: Report = compare(&plan).await.map_err(|error| Failure::Run(error.into()))?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.errors() == 0 { Verdict::Clean } else { Verdict::Errors })
}

async fn run_chaos(args: &ChaosArgs) -> Result<Verdict, Failure> {
    let plan = ChaosPlan::from_args(args).map_err(|error| Failure::Usage(error.into()))?;
    // The authority of a running system's certificate is known when the system is found, and no sooner.
    let failure =
        |error: anyhow::Error| if error.is::<InvalidTarget>() { Failure::Usage(error) } else { Failure::Run(error) };
    let report: ChaosReport = chaos::chaos(&plan).await.map_err(failure)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.holds() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_rollout(args: &RolloutArgs) -> Result<Verdict, Failure> {
    let report = rollout::rollout(args).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_faults(args: &FaultsArgs) -> Result<Verdict, Failure> {
    if args.table {
        write!(std::io::stdout().lock(), "{}", faults::table::markdown())
            .context("cannot write to standard output")
            .map_err(Failure::Run)?;
        return Ok(Verdict::Clean);
    }
    let report = faults::faults(args).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.holds() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_runbook(args: &RunbookArgs) -> Result<Verdict, Failure> {
    let report = runbook::runbook(args).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.holds() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_abuse(args: &AbuseArgs) -> Result<Verdict, Failure> {
    let report = abuse::abuse(args).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_during(args: &DuringArgs) -> Result<Verdict, Failure> {
    let failure =
        |error: anyhow::Error| if error.is::<InvalidTarget>() { Failure::Usage(error) } else { Failure::Run(error) };
    let report = rollout::during(args).await.map_err(failure)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_bench(args: &BenchArgs) -> Result<Verdict, Failure> {
    let report: BenchReport = bench::bench(&BenchPlan::from_args(args)).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_sound() { Verdict::Clean } else { Verdict::Errors })
}

fn publish<R: fmt::Display + Serialize>(report: &R, json: Option<&Path>) -> anyhow::Result<()> {
    write!(std::io::stdout().lock(), "{report}").context("cannot write to standard output")?;
    if let Some(file) = json {
        let mut text = serde_json::to_vec_pretty(report)?;
        text.push(b'\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn complain(error: &anyhow::Error) {
    eprintln!("loadtest: {error:#}");
}
