//! Injects one fault at a time, in an order that the seed determines, and undoes each before the
//! next.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_stack::SecondGateway;
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::chaos::burst::Burst;
use crate::chaos::fault_kind::FaultKind;
use crate::chaos::ledger::{Interval, Ledger, Moment};
use crate::chaos::plan::ChaosPlan;
use crate::chaos::run::Run;
use crate::chaos::system::System;
use crate::target::{Reach, Target};

/// Time without a fault before each fault.
const CALM_MS: RangeInclusive<u64> = 300..=1200;
/// How long something is down, or unknown to a second gateway. A lease of the hybrid store lasts
/// about 1 s, a health check interval is 1 s: some faults are shorter.
const AWAY_MS: RangeInclusive<u64> = 100..=2500;
/// How long an instance is paused, or another setting is changed.
const ALTERED_MS: RangeInclusive<u64> = 100..=4000;
/// How long an instance hangs that only one of two gateways considers healthy: longer than a
/// lease lasts, and too short for three health checks to fail.
const UNNOTICED: Duration = Duration::from_millis(1800);
/// How long the two gateways still disagree after it is resumed.
const DISAGREEMENT_AFTER: Duration = Duration::from_millis(200);
/// How long Redis hangs: from about one timeout to several.
const HUNG_MS: RangeInclusive<u64> = 1_000..=7_000;
/// How long an instance hangs: longer than a request waits before it is retried elsewhere, up to
/// more than three health check intervals.
const HUNG_INSTANCE_MS: RangeInclusive<u64> = 3_000..=7_000;
/// One reply of Redis in so many is lost during [`FaultKind::CutReply`].
const CUT_ONE_IN: u64 = 2;
/// The sessions' Redis.
const REDIS: &str = "redis-sessions";
const CACHE: &str = "redis-cache";
const POSTGRES: &str = "postgres";
const GATEWAY: &str = "gateway";

/// A fault that was injected and undone.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The component, instance or setting.
    pub(crate) target: String,
    /// From its beginning until the system had recovered.
    pub(crate) time: Interval,
    /// When it was undone and recovery began.
    pub(crate) undone: Moment,
}

/// The injected faults, and the ledger of clients that were part of one.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) faults: Vec<Fault>,
    /// The acts of clients that were part of a fault.
    pub(crate) ledger: Ledger,
}

/// Injects faults until the time is over and each has happened, or the run is interrupted. Calls
/// `narrate` with each fault that is over.
///
/// # Errors
/// When a fault could not be injected or undone, or the system did not recover from it.
pub(crate) async fn drive(
    system: &System,
    run: &Arc<Run>,
    plan: &ChaosPlan,
    mut narrate: impl FnMut(&Fault),
) -> Result<Done> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut done = Done::default();
    loop {
        let mut round = plan.faults.clone();
        round.shuffle(&mut random);
        for kind in round {
            let first_round = done.faults.len() < plan.faults.len();
            let time_is_over = run.now() >= plan.duration && !first_round;
            if time_is_over || run.is_interrupted() {
                return Ok(done);
            }
            run.pause(millis(&mut random, CALM_MS)).await;
            let planned = PlannedFault::choose(kind, system, run, &mut random).await?;
            let target = planned.to_string();
            let begin = run.now();
            let active = planned.inject(system, run, plan.seed).await?;
            run.pause(millis(&mut random, kind.lasts_ms())).await;
            active.escalate(system, run).await?;
            let undone = run.now();
            done.ledger.extend(active.undo(system, run).await?);
            system.wait_until_recovered().await?;
            let fault = Fault { kind, target, time: Interval { begin, end: run.now() }, undone };
            narrate(&fault);
            done.faults.push(fault);
        }
        let left = plan.duration.saturating_sub(run.now());
        if plan.faults.is_empty() || left.is_zero() {
            run.pause(left).await;
            return Ok(done);
        }
    }
}

impl FaultKind {
    fn lasts_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::KillStateful
            | Self::KillRedis
            | Self::KillGateway
            | Self::KillPostgres
            | Self::KillStateless
            | Self::KillCache
            | Self::TwoGateways => AWAY_MS,
            Self::RestartRedis
            | Self::RestartPostgres
            | Self::RollStateless
            | Self::RollStateful
            | Self::Reload
            | Self::UpgradeGateway => 0..=0,
            Self::HangStateful | Self::HangStateless => HUNG_INSTANCE_MS,
            Self::HangRedis | Self::HangPostgres | Self::HangCache => HUNG_MS,
            Self::FullDisk => AWAY_MS,
            Self::PauseStateful
            | Self::Scale
            | Self::ToggleStrategy
            | Self::Spill
            | Self::CutReply
            | Self::WrongInstance
            | Self::DrainAgain => ALTERED_MS,
        }
    }
}

/// A fault whose random choices are made. `Display` writes its target.
enum PlannedFault {
    Kill(String),
    Stop(String),
    Pause(String),
    Scale { from: u16, to: u16 },
    Roll(String),
    Reload,
    Upgrade,
    RouteRoundRobin,
    StartBurst { slot: usize },
    StartGateway { unknown: String },
    FillDisk,
    CutReplies,
    AddWrongInstance,
    DrainAgain(String),
}

/// An injected fault, with what is needed to undo it.
enum ActiveFault {
    Start(String),
    Resume(String),
    Scale(u16),
    RouteSticky,
    Burst(Burst),
    Second {
        gateway: SecondGateway,
        unknown: String,
    },
    Disk,
    /// Replies are cut.
    Cut,
    Drained(String),
    /// There is nothing to undo.
    Nothing,
}

impl PlannedFault {
    async fn choose(
        kind: FaultKind,
        system: &System,
        run: &Run,
        random: &mut StdRng,
    ) -> Result<Self> {
        let pool = match kind {
            FaultKind::RollStateless | FaultKind::KillStateless | FaultKind::HangStateless => {
                PoolName::Stateless
            }
            _ => PoolName::Stateful,
        };
        let instances = system.instances(pool).await?;
        let any = |random: &mut StdRng| {
            instances
                .choose(random)
                .cloned()
                .with_context(|| format!("there is no instance in {pool}"))
        };
        Ok(match kind {
            FaultKind::KillStateful | FaultKind::KillStateless => Self::Kill(any(random)?),
            FaultKind::PauseStateful | FaultKind::HangStateful | FaultKind::HangStateless => {
                Self::Pause(any(random)?)
            }
            FaultKind::HangRedis => Self::Pause(REDIS.to_owned()),
            FaultKind::HangPostgres => Self::Pause(POSTGRES.to_owned()),
            FaultKind::RestartPostgres => Self::Stop(POSTGRES.to_owned()),
            FaultKind::KillCache => Self::Kill(CACHE.to_owned()),
            FaultKind::HangCache => Self::Pause(CACHE.to_owned()),
            FaultKind::FullDisk => Self::FillDisk,
            FaultKind::WrongInstance => Self::AddWrongInstance,
            FaultKind::DrainAgain => Self::DrainAgain(any(random)?),
            FaultKind::KillRedis => Self::Kill(REDIS.to_owned()),
            FaultKind::RestartRedis => Self::Stop(REDIS.to_owned()),
            FaultKind::KillGateway => Self::Kill(GATEWAY.to_owned()),
            FaultKind::KillPostgres => Self::Kill(POSTGRES.to_owned()),
            FaultKind::Scale => {
                let from = u16::try_from(instances.len())?;
                let fewer = from > 1 && random.random_range(0..2) == 0;
                Self::Scale { from, to: if fewer { from - 1 } else { from + 1 } }
            }
            FaultKind::RollStateless | FaultKind::RollStateful => Self::Roll(any(random)?),
            FaultKind::Reload => Self::Reload,
            FaultKind::UpgradeGateway => Self::Upgrade,
            FaultKind::ToggleStrategy => Self::RouteRoundRobin,
            FaultKind::Spill => Self::StartBurst { slot: random.random_range(0..run.slot_count()) },
            FaultKind::TwoGateways => Self::StartGateway { unknown: any(random)? },
            FaultKind::CutReply => Self::CutReplies,
        })
    }

    async fn inject(self, system: &System, run: &Arc<Run>, seed: u64) -> Result<ActiveFault> {
        Ok(match self {
            Self::Kill(name) => {
                system.act(&name, Action::Kill).await?;
                ActiveFault::Start(name)
            }
            Self::Stop(name) => {
                system.act(&name, Action::Stop).await?;
                ActiveFault::Start(name)
            }
            Self::Pause(name) => {
                system.act(&name, Action::Pause).await?;
                ActiveFault::Resume(name)
            }
            Self::Scale { from, to } => {
                system.scale(to).await?;
                ActiveFault::Scale(from)
            }
            Self::Roll(name) => {
                system.act(&name, Action::Roll).await?;
                ActiveFault::Nothing
            }
            Self::Reload => {
                system.reload().await?;
                ActiveFault::Nothing
            }
            Self::Upgrade => {
                system.act(GATEWAY, Action::Upgrade).await?;
                ActiveFault::Nothing
            }
            Self::RouteRoundRobin => {
                system.set_strategy(Strategy::RoundRobin).await?;
                ActiveFault::RouteSticky
            }
            Self::FillDisk => {
                system.fill_disk()?;
                ActiveFault::Disk
            }
            Self::AddWrongInstance => {
                system.add_wrong_instance().await?;
                ActiveFault::Nothing
            }
            Self::DrainAgain(name) => {
                system.drain_again(&name).await?;
                ActiveFault::Drained(name)
            }
            Self::StartBurst { slot } => ActiveFault::Burst(Burst::start(run, seed, slot)),
            Self::CutReplies => {
                system.cut_replies(CUT_ONE_IN)?;
                run.repeat_each_write(true);
                ActiveFault::Cut
            }
            Self::StartGateway { unknown } => {
                let second = system.second_gateway(&unknown).await?;
                let target = Target::resolve(second.url(), None, Reach::ThisMachine).await?;
                run.set_second(Some(Arc::new(target)));
                ActiveFault::Second { gateway: second, unknown }
            }
        })
    }
}

impl ActiveFault {
    /// The last step of [`FaultKind::TwoGateways`]: the instance that only one gateway routes to
    /// hangs. That gateway's clients wait for it while its sessions are written elsewhere.
    async fn escalate(&self, system: &System, run: &Run) -> Result<()> {
        if let Self::Second { unknown, .. } = self {
            system.act(unknown, Action::Pause).await?;
            run.pause(UNNOTICED).await;
            system.act(unknown, Action::Resume).await?;
            run.pause(DISAGREEMENT_AFTER).await;
        }
        Ok(())
    }

    /// Undoes the fault, and returns the ledger of the clients that were part of it.
    async fn undo(self, system: &System, run: &Run) -> Result<Ledger> {
        match self {
            Self::Start(name) => system.act(&name, Action::Start).await?,
            Self::Resume(name) => system.act(&name, Action::Resume).await?,
            Self::Scale(instances) => system.scale(instances).await?,
            Self::RouteSticky => system.set_strategy(Strategy::Sticky).await?,
            Self::Burst(burst) => return burst.stop().await,
            Self::Second { gateway, .. } => {
                run.set_second(None);
                // Requests in flight through it fail, as when a gateway crashes.
                gateway.kill().await;
            }
            Self::Disk => system.free_disk(REDIS).await?,
            Self::Cut => {
                run.repeat_each_write(false);
                system.cut_replies(0)?;
            }
            Self::Drained(name) => system.undrain(&name).await?,
            Self::Nothing => {}
        }
        Ok(Ledger::default())
    }
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(name)
            | Self::Stop(name)
            | Self::Pause(name)
            | Self::Roll(name)
            | Self::DrainAgain(name) => f.write_str(name),
            Self::AddWrongInstance => f.write_str("a stateless instance for the stateful pool"),
            Self::Reload | Self::Upgrade => f.write_str(GATEWAY),
            Self::Scale { from, to } => write!(f, "from {from} to {to} instances"),
            Self::RouteRoundRobin => write!(f, "{}", Strategy::RoundRobin),
            Self::FillDisk => write!(f, "disk of {REDIS}"),
            Self::StartBurst { .. } => f.write_str("a burst of clients on one session"),
            Self::CutReplies => write!(f, "one in {CUT_ONE_IN} replies of Redis"),
            Self::StartGateway { unknown } => write!(f, "one without {unknown}"),
        }
    }
}

fn millis(random: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
