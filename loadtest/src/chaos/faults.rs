//! What is done to the system: one fault at a time, in an order that the seed fixes, each undone before the next.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;
use proto_contracts::control::Strategy;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::chaos::clients::Run;
use crate::chaos::ledger::{Interval, Moment};
use crate::chaos::plan::{ChaosPlan, FaultKind};
use crate::chaos::system::System;

/// How long the system is left alone before each fault.
const CALM_MS: RangeInclusive<u64> = 300..=1200;
/// How long something is away. A lease of the hybrid store is about 1 s, a health interval too: some faults are shorter.
const AWAY_MS: RangeInclusive<u64> = 100..=2500;
/// How long an instance stands still, or the pool is routed the other way.
const ALTERED_MS: RangeInclusive<u64> = 100..=4000;
/// The sessions' Redis.
const REDIS: &str = "redis-sessions";

/// A fault that was caused and undone.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// To what it was done.
    pub(crate) whom: String,
    /// From its beginning until the system was whole again.
    pub(crate) time: Interval,
    /// When it was undone; from then on the system recovered.
    pub(crate) undone: Moment,
}

/// Causes faults until the time is over and each has happened. Tells each one to `narrate` when it is over.
///
/// # Errors
/// When one could not be caused or undone, or the system did not recover from it.
pub(crate) async fn drive(
    system: &System,
    run: &Run,
    plan: &ChaosPlan,
    mut narrate: impl FnMut(&Fault),
) -> Result<Vec<Fault>> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut faults = Vec::new();
    loop {
        let mut round = plan.faults.clone();
        round.shuffle(&mut random);
        for kind in round {
            let left = plan.duration.saturating_sub(run.now());
            let first_round = faults.len() < plan.faults.len();
            if left.is_zero() && !first_round {
                return Ok(faults);
            }
            tokio::time::sleep(millis(&mut random, CALM_MS)).await;
            let begin = run.now();
            let (whom, undone) = cause(kind, system, run, plan, &mut random).await?;
            system.settle().await?;
            let fault = Fault { kind, whom, time: Interval { begin, end: run.now() }, undone };
            narrate(&fault);
            faults.push(fault);
        }
        let left = plan.duration.saturating_sub(run.now());
        if plan.faults.is_empty() || left.is_zero() {
            tokio::time::sleep(left).await;
            return Ok(faults);
        }
    }
}

/// Causes one fault and undoes it. Returns to whom it was done, and when it was undone.
async fn cause(
    kind: FaultKind,
    system: &System,
    run: &Run,
    plan: &ChaosPlan,
    random: &mut StdRng,
) -> Result<(String, Moment)> {
    let away = millis(random, AWAY_MS);
    let altered = millis(random, ALTERED_MS);
    let any_instance = |random: &mut StdRng| {
        let instances = system.instances();
        instances[random.random_range(0..instances.len())].clone()
    };
    let whom = match kind {
        FaultKind::KillStateful => any_instance(random),
        FaultKind::PauseStateful => any_instance(random),
        FaultKind::KillRedis | FaultKind::RestartRedis => REDIS.to_owned(),
        FaultKind::KillGateway => "gateway".to_owned(),
        FaultKind::KillPostgres => "postgres".to_owned(),
        FaultKind::Scale => {
            let more = random.random_range(0..2) == 0;
            format!("{} instances", if more { plan.instances + 1 } else { plan.instances - 1 })
        }
        FaultKind::ToggleStrategy => Strategy::RoundRobin.to_string(),
    };
    match kind {
        FaultKind::KillStateful | FaultKind::KillRedis | FaultKind::KillGateway | FaultKind::KillPostgres => {
            system.kill(&whom).await?;
            tokio::time::sleep(away).await;
        }
        FaultKind::RestartRedis => system.stop(&whom).await?,
        FaultKind::PauseStateful => {
            system.pause(&whom)?;
            tokio::time::sleep(altered).await;
        }
        FaultKind::Scale => {
            let instances = whom.split(' ').next().and_then(|number| number.parse().ok());
            system.scale(instances.unwrap_or(plan.instances)).await?;
            tokio::time::sleep(altered).await;
        }
        FaultKind::ToggleStrategy => {
            system.set_strategy(Strategy::RoundRobin).await?;
            tokio::time::sleep(altered).await;
        }
    }
    let undone = run.now();
    match kind {
        FaultKind::KillStateful
        | FaultKind::KillRedis
        | FaultKind::RestartRedis
        | FaultKind::KillGateway
        | FaultKind::KillPostgres => system.start_again(&whom).await?,
        FaultKind::PauseStateful => system.resume(&whom)?,
        FaultKind::Scale => system.scale(plan.instances).await?,
        FaultKind::ToggleStrategy => system.set_strategy(Strategy::Sticky).await?,
    }
    Ok((whom, undone))
}

fn millis(random: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
