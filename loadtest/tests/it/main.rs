//! Tests of `compare` against a server with injected faults, and of the other commands against real
//! stacks.

mod abuse;
mod bench;
mod chaos;
mod command_line;
mod coordinated_omission;
mod counts;
mod dummy;
mod faults;
mod lesson;
mod logins;
mod rollout;
mod routing;
mod runbook;
mod tls;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clap::Parser as _;
use loadtest::cli::{Cli, Command};
use loadtest::plan::{InvalidPlan, Plan};
use loadtest::report::Report;

/// Benchmarks use all processors, so that beside them a request may fail by a timeout alone. Tests
/// in which none may fail share the processors with each other.
static PROCESSORS: RwLock<()> = RwLock::new(());

/// For a benchmark.
fn all_processors() -> RwLockWriteGuard<'static, ()> {
    PROCESSORS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test in which no request may fail.
fn shared_processors() -> RwLockReadGuard<'static, ()> {
    PROCESSORS.read().unwrap_or_else(PoisonError::into_inner)
}

/// The plan of a command line.
async fn plan(target: &str, options: &str) -> Result<Plan, InvalidPlan> {
    let words =
        ["loadtest", "compare", "--target", target].into_iter().chain(options.split_whitespace());
    let Command::Compare(args) = Cli::try_parse_from(words).expect("parses").command else {
        panic!("compare")
    };
    Plan::from_args(&args).await
}

/// Runs a command line to its end.
async fn compare(target: &str, options: &str) -> Report {
    let plan = plan(target, options).await.expect("a good plan");
    loadtest::compare(&plan).await.expect("reachable")
}
