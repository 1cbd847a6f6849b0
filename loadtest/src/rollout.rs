//! `loadtest rollout` and `loadtest during`: operations under load, during which no request may
//! fail.
//!
//! `load` sends requests at fixed times without retries. `streams` follow events and resume after
//! an interruption. Meanwhile the operations run one after the other. [`report`] counts operations
//! and failures.

use std::ops::RangeInclusive;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use local_stack::Stack;
use proto_contracts::PoolName;
use tokio::process::Command;

use crate::mistakes;
use crate::target::{Reach, Target};
use args::{DuringArgs, RolloutArgs};
use latency::Stage;
use leases::{Leases, LogMark};
use load::Load;
use report::{DuringReport, OperationTime, Operations, RolloutReport};

pub mod args;
pub mod report;

mod due_times;
mod failures;
pub(crate) mod latency;
mod leases;
pub(crate) mod load;
mod page;
mod streams;

/// Instances of each pool, unless it is scaled.
const INSTANCES: u16 = 2;
/// Instances of a pool that is scaled up.
const SCALED: u16 = 4;
/// Interval of health checks: short, so that an instance is used soon after its start.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// How long the load runs before the first operation.
const WARM_UP: Duration = Duration::from_secs(2);

/// Runs all operations under load. Prints each round to standard error.
///
/// # Errors
/// When the system does not start, or an operation fails. Failed requests are in the report.
pub async fn rollout(args: &RolloutArgs) -> Result<RolloutReport> {
    let stack = Stack::for_tests()
        .stateless(INSTANCES)
        .stateful(INSTANCES)
        .health_interval(HEALTH_INTERVAL);
    let stack = stack.start().await.context("the system does not start")?;
    let report = run(args, &stack).await;
    stack.shutdown().await;
    report
}

async fn run(args: &RolloutArgs, stack: &Stack) -> Result<RolloutReport> {
    let target = Arc::new(Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?);
    let load = Load::start(&args.load, &target);
    tokio::time::sleep(WARM_UP).await;
    load.latencies().begin(Stage::Quiet);
    tokio::time::sleep(args.quiet).await;
    load.latencies().begin(Stage::Other);
    let mut timeline = Timeline { load: &load, operations: Vec::new() };
    let operated = operate(args, stack, &mut timeline).await;
    let timeline = timeline.operations;
    let p99s = load.latencies().p99s();
    let load = load.stop().await;
    let (operations, leases) = operated?;
    Ok(RolloutReport { operations, leases, p99s, timeline, load })
}

/// Runs a command under load and reports.
///
/// # Errors
/// When the target cannot be used, or the command cannot be started. Failed requests are in the
/// report.
pub async fn during(args: &DuringArgs) -> Result<DuringReport> {
    let target =
        Arc::new(Target::resolve(&args.target, args.cacert.as_deref(), Reach::ThisMachine).await?);
    let [program, arguments @ ..] = &args.command[..] else { bail!("there is no command") };
    let load = Load::start(&args.load, &target);
    // Failures before this are not caused by the command.
    tokio::time::sleep(WARM_UP).await;
    let begin = Instant::now();
    let ended = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    let command_s = begin.elapsed().as_secs_f64();
    tokio::time::sleep(args.settle).await;
    let load = load.stop().await;
    let ended = ended.with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    Ok(DuringReport { command: words.join(" "), command_s, exit_status: ended.code(), load })
}

/// Makes both mistakes, and waits until the pool is as before.
async fn make_mistakes(stack: &Stack) -> Result<()> {
    const NAME: &str = "stateful-1";
    let control = stack.control();
    mistakes::add_wrong_instance(control, stack.addr_of("stateless-1")?).await?;
    mistakes::drain_again(control, NAME).await?;
    mistakes::undrain(control, NAME).await?;
    Ok(control
        .await_healthy(&[(PoolName::Stateful, NAME.to_owned(), stack.addr_of(NAME)?)])
        .await?)
}

/// When each operation ran under the load.
struct Timeline<'a> {
    load: &'a Load,
    operations: Vec<OperationTime>,
}

impl Timeline<'_> {
    /// Waits for the operation.
    async fn time<T>(&mut self, operation: String, run: impl Future<Output = T>) -> T {
        let begin_s = self.load.elapsed().as_secs_f64();
        let result = run.await;
        let end_s = self.load.elapsed().as_secs_f64();
        self.operations.push(OperationTime { operation, begin_s, end_s });
        result
    }
}

/// Runs the operations in turn, so that each follows each other one.
async fn operate(
    args: &RolloutArgs,
    stack: &Stack,
    timeline: &mut Timeline<'_>,
) -> Result<(Operations, Leases)> {
    let (mut done, mut leases) = (Operations::default(), Leases::default());
    let rounds = [args.rolls, args.scales, args.mistakes, args.reloads, args.upgrades]
        .into_iter()
        .max()
        .unwrap_or_default();
    for round in 0..rounds {
        let begin = Instant::now();
        if round < args.upgrades {
            timeline
                .time("gateway upgrade".to_owned(), stack.upgrade("gateway"))
                .await
                .context("cannot upgrade the gateway")?;
            done.upgrades += 1;
        }
        for pool in PoolName::ALL {
            if round < args.rolls {
                timeline.load.latencies().begin(Stage::Rolling(pool));
                for number in 1..=INSTANCES {
                    let name = format!("{pool}-{number}");
                    let marks = lease_marks(stack, pool, number..=number)?;
                    timeline
                        .time(format!("restart, {pool}"), stack.roll(&name))
                        .await
                        .with_context(|| format!("cannot restart {name}"))?;
                    record_leases(&mut leases, &marks)?;
                }
                timeline.load.latencies().begin(Stage::Other);
                *done.rolls_of(pool) += 1;
            }
            if round < args.scales {
                timeline
                    .time(format!("scale to {SCALED}, {pool}"), stack.scale(pool, SCALED))
                    .await
                    .with_context(|| format!("cannot scale {pool}"))?;
                let marks = lease_marks(stack, pool, INSTANCES + 1..=SCALED)?;
                timeline
                    .time(format!("scale to {INSTANCES}, {pool}"), stack.scale(pool, INSTANCES))
                    .await
                    .with_context(|| format!("cannot scale {pool}"))?;
                record_leases(&mut leases, &marks)?;
                *done.scales_of(pool) += 1;
            }
        }
        if round < args.mistakes {
            timeline.time("mistakes".to_owned(), make_mistakes(stack)).await?;
            done.mistakes += 1;
        }
        if round < args.reloads {
            timeline
                .time("reload".to_owned(), stack.control().reload())
                .await
                .context("cannot reload")?;
            done.reloads += 1;
        }
        eprintln!("round {} of {rounds} took {:.1} s", round + 1, begin.elapsed().as_secs_f64());
    }
    Ok((done, leases))
}

/// The current ends of these instances' logs; empty for the stateless pool, which has no leases.
fn lease_marks(
    stack: &Stack,
    pool: PoolName,
    numbers: RangeInclusive<u16>,
) -> Result<Vec<LogMark>> {
    let of_pool = numbers.filter(|_| pool == PoolName::Stateful);
    of_pool.map(|number| LogMark::at_end_of(stack.log_path(&format!("{pool}-{number}"))?)).collect()
}

fn record_leases(leases: &mut Leases, stopped: &[LogMark]) -> Result<()> {
    for mark in stopped {
        leases.add(mark.released_since()?);
    }
    Ok(())
}
