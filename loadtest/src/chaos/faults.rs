//! What is done to the system: one fault at a time, in an order that the seed fixes, each undone before the next.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
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

/// Causes faults until the time is over and each has happened, or the run is interrupted. Tells each one to `narrate` when it is over.
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
            let first_round = faults.len() < plan.faults.len();
            let time_is_over = run.now() >= plan.duration && !first_round;
            if time_is_over || run.is_interrupted() {
                return Ok(faults);
            }
            run.pause(millis(&mut random, CALM_MS)).await;
            let deed = Deed::choose(kind, system, &mut random).await?;
            let begin = run.now();
            deed.begin(system).await?;
            run.pause(millis(&mut random, kind.lasts_ms())).await;
            let undone = run.now();
            deed.undo(system).await?;
            system.settle().await?;
            let fault = Fault { kind, whom: deed.to_string(), time: Interval { begin, end: run.now() }, undone };
            narrate(&fault);
            faults.push(fault);
        }
        let left = plan.duration.saturating_sub(run.now());
        if plan.faults.is_empty() || left.is_zero() {
            run.pause(left).await;
            return Ok(faults);
        }
    }
}

impl FaultKind {
    fn lasts_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::KillStateful | Self::KillRedis | Self::KillGateway | Self::KillPostgres => AWAY_MS,
            Self::RestartRedis => 0..=0,
            Self::PauseStateful | Self::Scale | Self::ToggleStrategy => ALTERED_MS,
        }
    }
}

/// A fault whose choices are made. It reads as that to which it is done.
enum Deed {
    Kill(String),
    Stop(String),
    Pause(String),
    Scale { from: u16, to: u16 },
    RouteRoundRobin,
}

impl Deed {
    async fn choose(kind: FaultKind, system: &System, random: &mut StdRng) -> Result<Self> {
        let instances = system.instances().await?;
        let any = |random: &mut StdRng| instances.choose(random).cloned().context("there is no stateful instance");
        Ok(match kind {
            FaultKind::KillStateful => Self::Kill(any(random)?),
            FaultKind::PauseStateful => Self::Pause(any(random)?),
            FaultKind::KillRedis => Self::Kill(REDIS.to_owned()),
            FaultKind::RestartRedis => Self::Stop(REDIS.to_owned()),
            FaultKind::KillGateway => Self::Kill("gateway".to_owned()),
            FaultKind::KillPostgres => Self::Kill("postgres".to_owned()),
            FaultKind::Scale => {
                let from = u16::try_from(instances.len())?;
                let fewer = from > 1 && random.random_range(0..2) == 0;
                Self::Scale { from, to: if fewer { from - 1 } else { from + 1 } }
            }
            FaultKind::ToggleStrategy => Self::RouteRoundRobin,
        })
    }

    async fn begin(&self, system: &System) -> Result<()> {
        match self {
            Self::Kill(name) => system.act(name, Action::Kill).await,
            Self::Stop(name) => system.act(name, Action::Stop).await,
            Self::Pause(name) => system.act(name, Action::Pause).await,
            Self::Scale { to, .. } => system.scale(*to).await,
            Self::RouteRoundRobin => system.set_strategy(Strategy::RoundRobin).await,
        }
    }

    async fn undo(&self, system: &System) -> Result<()> {
        match self {
            Self::Kill(name) | Self::Stop(name) => system.act(name, Action::Start).await,
            Self::Pause(name) => system.act(name, Action::Resume).await,
            Self::Scale { from, .. } => system.scale(*from).await,
            Self::RouteRoundRobin => system.set_strategy(Strategy::Sticky).await,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(name) | Self::Stop(name) | Self::Pause(name) => f.write_str(name),
            Self::Scale { from, to } => write!(f, "from {from} to {to} instances"),
            Self::RouteRoundRobin => write!(f, "{}", Strategy::RoundRobin),
        }
    }
}

fn millis(random: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
