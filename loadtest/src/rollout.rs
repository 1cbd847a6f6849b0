//! `loadtest rollout`: what operators do, under load, without a failed request.
//!
//! `load` sends requests at fixed times and repeats none; `streams` follow events and resume; meanwhile the operations are
//! done one after the other, mixed. [`report`] tells how often each was done and what failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use local_stack::Stack;
use proto_contracts::PoolName;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::RolloutArgs;
use crate::target::{Reach, Target};
use load::{Failures, Worker};
use report::{Operations, RolloutReport};

pub mod report;

mod load;
mod streams;

/// Instances of each pool, unless it is scaled.
const INSTANCES: u16 = 2;
/// How many it is scaled to.
const SCALED: u16 = 4;
/// Time between two health checks, so that an instance is a member soon after its start.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// Does it all and reports. Each operation is told on standard error.
///
/// # Errors
/// When the system does not start, or an operation fails. Failed requests are in the report.
pub async fn rollout(args: &RolloutArgs) -> Result<RolloutReport> {
    let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES).health_interval(HEALTH_INTERVAL);
    let stack = stack.start().await.context("the system does not start")?;
    let report = run(args, &stack).await;
    stack.shutdown().await;
    report
}

async fn run(args: &RolloutArgs, stack: &Stack) -> Result<RolloutReport> {
    let target = Arc::new(Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?);
    let begin = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let failures = Arc::new(Failures::starting_at(begin));
    let mut workers = JoinSet::new();
    for number in 0..args.connections.get() {
        let worker = Worker::new(args, number, Arc::clone(&target), Arc::clone(&failures));
        workers.spawn(worker.work(begin, stopped.clone()));
    }
    let mut followers = JoinSet::new();
    for _ in 0..args.streams {
        followers.spawn(streams::follow(Arc::clone(&target), args.timeout, Arc::clone(&failures), stopped.clone()));
    }
    let operations = operate(args, stack).await;
    stop.send_replace(true);
    let requests: u64 = workers.join_all().await.into_iter().sum();
    let streams = followers.join_all().await.into_iter().sum();
    Ok(RolloutReport::new(args, begin.elapsed(), operations?, requests, streams, &failures))
}

/// Does the operations in turn, so that each meets each.
async fn operate(args: &RolloutArgs, stack: &Stack) -> Result<Operations> {
    let mut done = Operations::default();
    let rounds = [args.rolls, args.scales, args.reloads, args.upgrades].into_iter().max().unwrap_or_default();
    for round in 0..rounds {
        let begin = Instant::now();
        if round < args.upgrades {
            stack.upgrade("gateway").await.context("cannot upgrade the gateway")?;
            done.upgrades += 1;
        }
        for pool in PoolName::ALL {
            if round < args.rolls {
                for number in 1..=INSTANCES {
                    let name = format!("{pool}-{number}");
                    stack.roll(&name).await.with_context(|| format!("cannot restart {name}"))?;
                }
                *done.rolls_of(pool) += 1;
            }
            if round < args.scales {
                for instances in [SCALED, INSTANCES] {
                    stack.scale(pool, instances).await.with_context(|| format!("cannot scale {pool}"))?;
                }
                *done.scales_of(pool) += 1;
            }
        }
        if round < args.reloads {
            stack.control().reload().await.context("cannot reload")?;
            done.reloads += 1;
        }
        eprintln!("round {} of {rounds} took {:.1} s", round + 1, begin.elapsed().as_secs_f64());
    }
    Ok(done)
}
