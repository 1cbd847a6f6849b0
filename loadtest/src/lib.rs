//! The load generator and fault injector of Tandem.
//!
//! A command of [`cli`] becomes a validated [`plan`]. [`compare`] runs its phases, one per kind of
//! load: `phase` connects the workers and runs them in a closed or an open loop (`closed_loop`,
//! `open_loop`). Each worker runs a `scenario` over its own connection (`client`) into a
//! `recorder`; [`report`] formats the result, and `output` writes it. `routing` does the same with
//! two routing strategies.
//!
//! [`mod@bench`] measures CPU and memory by process. [`chaos`] injects faults and checks
//! guarantees. [`faults`] compares what clients see with the runbook's table. [`rollout`] runs
//! operations and [`abuse`] a hostile client; both count the failures of other requests.
//! [`logins`] measures what logins show and cost. [`mod@lesson`] compares theory with measurement
//! for a class, and [`mod@drive`] simulates clients for the board.
//!
//! **Invariant of a comparison:** each request that was sent, or due in an open loop, is in the
//! report exactly once, whatever its outcome.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use service_kit::config::Env;

use crate::abuse::args::AbuseArgs;
use crate::bench::args::BenchArgs;
use crate::bench::figures::FiguresArgs;
use crate::bench::plan::BenchPlan;
use crate::bench::report::BenchReport;
use crate::chaos::args::ChaosArgs;
use crate::chaos::plan::ChaosPlan;
use crate::chaos::report::ChaosReport;
use crate::cli::Command;
use crate::drive::args::{DriveArgs, DrivePlan};
use crate::faults::args::FaultsArgs;
use crate::lesson::args::{LessonAction, LessonArgs};
use crate::logins::args::LoginsArgs;
use crate::output::publish;
use crate::plan::CompareArgs;
use crate::plan::Plan;
use crate::report::Report;
use crate::rollout::args::{DuringArgs, RolloutArgs};
use crate::routing::{RoutingArgs, RoutingPlan};
use crate::runbook::args::RunbookArgs;
use crate::target::InvalidTarget;

pub mod abuse;
pub mod bench;
pub mod chaos;
pub mod cli;
pub mod drive;
pub mod faults;
pub mod lesson;
pub mod logins;
pub mod output;
pub mod plan;
pub mod report;
pub mod rollout;
pub mod routing;
pub mod runbook;
pub mod target;

mod client;
mod closed_loop;
mod compare;
mod duration;
mod mistakes;
mod open_loop;
mod origin;
mod outcome;
mod perform;
mod phase;
mod progress;
mod recorder;
mod relay;
mod request;
mod scenario;

pub use cli::Cli;
pub use compare::compare;

/// Exit statuses.
pub mod exit {
    use std::process::ExitCode;

    /// Every request succeeded, or every guarantee held.
    pub const CLEAN: ExitCode = ExitCode::SUCCESS;
    /// Some requests failed, a guarantee broke, the target could not be reached, or the report
    /// could not be written.
    pub const ERRORS: ExitCode = ExitCode::FAILURE;

    /// The command line is invalid: 64, `EX_USAGE`.
    pub fn usage() -> ExitCode {
        ExitCode::from(64)
    }
}

/// Runs the command, prints its report on standard output and returns the exit status.
pub async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Compare(args) => run_compare(&args).await,
        Command::Routing(args) => run_routing(&args).await,
        Command::Chaos(args) => run_chaos(&args).await,
        Command::Faults(args) => run_faults(&args).await,
        Command::Runbook(args) => run_runbook(&args).await,
        Command::Rollout(args) => run_rollout(&args).await,
        Command::Abuse(args) => run_abuse(&args).await,
        Command::Logins(args) => run_logins(&args).await,
        Command::During(args) => run_during(&args).await,
        Command::Lesson(args) => run_lesson(&args).await,
        Command::Drive(args) => run_drive(&args).await,
        Command::Bench(args) => run_bench(&args).await,
        Command::Figures(args) => run_figures(&args),
        Command::Origins(args) => {
            origin::serve(&args.names).await.map(|()| Verdict::Clean).map_err(Failure::Run)
        }
        Command::Relay(args) => {
            relay::run(args.listen, &args.origins).map(|()| Verdict::Clean).map_err(Failure::Run)
        }
    };
    match result {
        Ok(Verdict::Clean) => exit::CLEAN,
        Ok(Verdict::Errors) => exit::ERRORS,
        Err(Failure::Usage(error)) => {
            print_error(&error);
            exit::usage()
        }
        Err(Failure::Run(error)) => {
            print_error(&error);
            exit::ERRORS
        }
    }
}

/// The verdict of a report.
enum Verdict {
    Clean,
    Errors,
}

/// Why a command has no report.
enum Failure {
    Usage(anyhow::Error),
    Run(anyhow::Error),
}

async fn run_compare(args: &CompareArgs) -> Result<Verdict, Failure> {
    let plan = Plan::from_args(args).await.map_err(|error| Failure::Usage(error.into()))?;
    let report: Report = compare(&plan).await.map_err(|error| Failure::Run(error.into()))?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.errors() == 0 { Verdict::Clean } else { Verdict::Errors })
}

async fn run_routing(args: &RoutingArgs) -> Result<Verdict, Failure> {
    let plan = RoutingPlan::from_args(args).await.map_err(|error| Failure::Usage(error.into()))?;
    let report = routing::routing(&plan).await.map_err(Failure::Run)?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.errors() == 0 { Verdict::Clean } else { Verdict::Errors })
}

async fn run_chaos(args: &ChaosArgs) -> Result<Verdict, Failure> {
    let plan = ChaosPlan::from_args(args).map_err(|error| Failure::Usage(error.into()))?;
    // The CA of a running system is only known once the system is found.
    let failure = |error: anyhow::Error| {
        if error.is::<InvalidTarget>() { Failure::Usage(error) } else { Failure::Run(error) }
    };
    let report: ChaosReport = chaos::chaos(&plan).await.map_err(failure)?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.holds() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_rollout(args: &RolloutArgs) -> Result<Verdict, Failure> {
    let report = rollout::rollout(args).await.map_err(Failure::Run)?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_faults(args: &FaultsArgs) -> Result<Verdict, Failure> {
    if args.table {
        write!(std::io::stdout().lock(), "{}", faults::markdown::table())
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

async fn run_logins(args: &LoginsArgs) -> Result<Verdict, Failure> {
    let report = logins::logins(args).await.map_err(Failure::Run)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_during(args: &DuringArgs) -> Result<Verdict, Failure> {
    let failure = |error: anyhow::Error| {
        if error.is::<InvalidTarget>() { Failure::Usage(error) } else { Failure::Run(error) }
    };
    let report = rollout::during(args).await.map_err(failure)?;
    publish(&report, args.json.as_deref()).map_err(Failure::Run)?;
    Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_lesson(args: &LessonArgs) -> Result<Verdict, Failure> {
    let args = match &args.action {
        LessonAction::List => {
            write!(std::io::stdout().lock(), "{}", lesson::report::list())
                .context("cannot write to standard output")
                .map_err(Failure::Run)?;
            return Ok(Verdict::Clean);
        }
        LessonAction::PutBack(args) => {
            lesson::put_back(args).await.map_err(Failure::Run)?;
            return Ok(Verdict::Clean);
        }
        LessonAction::Run(args) => args,
    };
    let report = lesson::lesson(args).await.map_err(Failure::Run)?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.holds() { Verdict::Clean } else { Verdict::Errors })
}

async fn run_drive(args: &DriveArgs) -> Result<Verdict, Failure> {
    let env = Env::process("driver").map_err(|error| Failure::Usage(error.into()))?;
    let plan = DrivePlan::from_args(args, &env).await;
    drive::drive(plan.map_err(|error| Failure::Usage(error.into()))?)
        .await
        .map_err(Failure::Run)?;
    Ok(Verdict::Clean)
}

async fn run_bench(args: &BenchArgs) -> Result<Verdict, Failure> {
    let report: BenchReport =
        bench::bench(&BenchPlan::from_args(args)).await.map_err(Failure::Run)?;
    args.files.publish(&report).map_err(Failure::Run)?;
    Ok(if report.is_sound() { Verdict::Clean } else { Verdict::Errors })
}

fn run_figures(args: &FiguresArgs) -> Result<Verdict, Failure> {
    let tables = bench::figures::figures(args).map_err(Failure::Run)?;
    let printed = write!(std::io::stdout().lock(), "{}", tables.unwrap_or_default());
    printed.context("cannot write to standard output").map_err(Failure::Run)?;
    Ok(Verdict::Clean)
}

fn print_error(error: &anyhow::Error) {
    eprintln!("loadtest: {error:#}");
}
