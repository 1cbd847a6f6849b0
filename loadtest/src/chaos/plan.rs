//! What to run, checked.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use local_stack::{SmallDisk, Store};
use serde::Serialize;

use crate::chaos::args::ChaosArgs;

/// What is done to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An instance of the stateful service is killed (SIGKILL) and started again.
    KillStateful,
    /// One is stopped where it stands (SIGSTOP) and let go on.
    PauseStateful,
    /// The sessions' Redis is killed and started again.
    KillRedis,
    /// It is ended in order and started again at once.
    RestartRedis,
    /// The stateful pool gets an instance more or less, and is brought back.
    Scale,
    /// An instance of the stateless service is restarted by a drain.
    RollStateless,
    /// One of the stateful service is.
    RollStateful,
    /// The gateway reads its configuration again.
    Reload,
    /// A new process of the gateway takes the place of the one that runs.
    UpgradeGateway,
    /// The stateful pool is routed round robin for a while.
    ToggleStrategy,
    /// The gateway is killed and started again.
    KillGateway,
    /// PostgreSQL is killed and started again; sessions do not need it.
    KillPostgres,
    /// A crowd comes to one session, so that its home is over its load bound and the gateway spills.
    Spill,
    /// A second gateway takes half of the requests, and does not know one of the instances, which in the end stands still
    /// for longer than its lease lasts.
    TwoGateways,
    /// An instance of the stateful service stands still for so long that its checks fail.
    HangStateful,
    /// The sessions' Redis stands still.
    HangRedis,
    /// The disk of the sessions' Redis is full; it ends itself, and is started again when there is room.
    FullDisk,
    /// Connections of the stateful instances to Redis end after an act was executed and before its reply came.
    CutReply,
    /// An instance of the stateless service is added to the stateful pool, which must refuse it.
    WrongInstance,
    /// An instance is drained, and once more when it is drained, which must not revive it.
    DrainAgain,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::KillStateful,
        Self::PauseStateful,
        Self::KillRedis,
        Self::RestartRedis,
        Self::Scale,
        Self::RollStateless,
        Self::RollStateful,
        Self::Reload,
        Self::UpgradeGateway,
        Self::ToggleStrategy,
        Self::KillGateway,
        Self::KillPostgres,
        Self::Spill,
        Self::TwoGateways,
        Self::HangStateful,
        Self::HangRedis,
        Self::FullDisk,
        Self::CutReply,
        Self::WrongInstance,
        Self::DrainAgain,
    ];

    /// The name as `--faults` takes it and as it stands in the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillStateful => "kill-stateful",
            Self::PauseStateful => "pause-stateful",
            Self::KillRedis => "kill-redis",
            Self::RestartRedis => "restart-redis",
            Self::Scale => "scale",
            Self::RollStateless => "roll-stateless",
            Self::RollStateful => "roll-stateful",
            Self::Reload => "reload",
            Self::UpgradeGateway => "upgrade-gateway",
            Self::ToggleStrategy => "toggle-strategy",
            Self::KillGateway => "kill-gateway",
            Self::KillPostgres => "kill-postgres",
            Self::Spill => "spill",
            Self::TwoGateways => "two-gateways",
            Self::HangStateful => "hang-stateful",
            Self::HangRedis => "hang-redis",
            Self::FullDisk => "full-disk",
            Self::CutReply => "cut-reply",
            Self::WrongInstance => "wrong-instance",
            Self::DrainAgain => "drain-again",
        }
    }

    /// Whether operators do it on purpose, so that no request may fail in it.
    pub(crate) const fn is_operation(self) -> bool {
        matches!(
            self,
            Self::Scale
                | Self::RollStateless
                | Self::RollStateful
                | Self::Reload
                | Self::UpgradeGateway
                | Self::WrongInstance
                | Self::DrainAgain
        )
    }

    /// Whether the sessions' Redis is away in it, so that reads may be answered as unverified.
    pub(crate) const fn takes_redis(self) -> bool {
        matches!(self, Self::KillRedis | Self::RestartRedis | Self::HangRedis | Self::FullDisk)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which faults are caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// `all`: every one that the system can have.
    All,
    /// `none`, or some by their names.
    These(Vec<FaultKind>),
}

/// The text names no such faults.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// Nobody knows it.
    #[error("there is no fault '{0}'; there are {known}, or 'all', or 'none'", known = FaultKind::ALL.map(FaultKind::as_str).join(", "))]
    Unknown(String),
    /// It would make no difference.
    #[error("'{0}' is named twice")]
    Twice(FaultKind),
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::These(Vec::new())),
            _ => {}
        }
        let mut faults = Vec::new();
        for name in text.split(',') {
            let kind = FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name);
            match kind {
                Some(kind) if faults.contains(&kind) => return Err(InvalidFaults::Twice(kind)),
                Some(kind) => faults.push(kind),
                None => return Err(InvalidFaults::Unknown(name.to_owned())),
            }
        }
        Ok(Self::These(faults))
    }
}

/// Whether a write of unknown outcome is repeated under its idempotency key until it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// If the system answers a repeated write as the first.
    Auto,
    /// In any case. A system that does not know the key does such writes twice, and the report says so.
    On,
    /// Never: the final reading decides.
    Off,
}

/// A guarantee of the hybrid store that can be taken out, to see that its loss is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Who writes waits until no older copy is left.
    NoHandover,
    /// A copy is served only while its lease is trusted, and given up with it.
    NoLeaseCheck,
    /// Who is asked to drop a copy does so.
    NoDrop,
}

impl Guarantee {
    /// The name as the service takes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoHandover => "no-handover",
            Self::NoLeaseCheck => "no-lease-check",
            Self::NoDrop => "no-drop",
        }
    }
}

/// The system that is broken.
#[derive(Clone, Debug)]
pub enum Subject {
    /// One that is started for the run and ends with it.
    Own {
        /// Where the stateful service keeps its sessions.
        store: Store,
        /// How many instances of it there are.
        instances: u16,
        /// Where data and logs stay; without it they go with the run.
        keep: Option<PathBuf>,
        /// The guarantee that its stateful service was built without.
        broken: Option<Guarantee>,
    },
    /// One that runs, as `make up` starts it.
    Running {
        /// Where it takes requests.
        target: String,
        /// Its state folder, which tells its agent.
        state: PathBuf,
    },
    /// One of which nothing else is known, so that nothing can be done to it.
    Elsewhere {
        /// Where it takes requests.
        target: String,
        /// The authority that signed its certificate.
        cacert: PathBuf,
    },
}

impl Subject {
    /// Why the system cannot have a fault, if it cannot.
    fn lacks(&self, kind: FaultKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Own { store: Store::Memory, .. }, FaultKind::Spill) => {
                Some("with --store memory, where nobody but its home knows a session, the gateway does not spill")
            }
            (Self::Own { .. }, FaultKind::FullDisk) if !SmallDisk::may_mount() => {
                Some("a disk that is filled is a file system of its own, and mounting one takes root")
            }
            (Self::Running { .. }, FaultKind::FullDisk) => {
                Some("the disk of a running system is not filled; without --target the run has one of its own")
            }
            (Self::Running { .. }, FaultKind::TwoGateways) => {
                Some("a second gateway is started beside a system of this run's own alone, not with --target")
            }
            (Self::Own { store: Store::Memory, .. }, FaultKind::CutReply) => {
                Some("with --store memory there is no Redis that replies")
            }
            (Self::Running { .. }, FaultKind::CutReply) => Some(
                "what loses replies is put before the Redis of a system of this run's own alone, not with --target",
            ),
            (Self::Elsewhere { .. }, _) => Some("with --cacert the system is nobody's to break; say --faults none"),
            _ => None,
        }
    }
}

/// A checked plan.
#[derive(Clone, Debug)]
pub struct ChaosPlan {
    /// What is broken.
    pub subject: Subject,
    /// Which faults are caused.
    pub faults: Vec<FaultKind>,
    /// Whether somebody else takes Redis away meanwhile, nobody knows when.
    pub redis_may_go: bool,
    /// How many clients there are.
    pub clients: u16,
    /// How long the clients are at work, at least: each fault happens once.
    pub duration: Duration,
    /// How long a request may take before its outcome is unknown.
    pub timeout: Duration,
    /// Whether writes are repeated.
    pub idempotency: Idempotency,
    /// Fixes the faults, their order and their lengths, and what each client chooses to do.
    pub seed: u64,
}

/// The command line makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChaos {
    /// The last instance cannot be scaled away, and a lone one has nobody to fail over to.
    #[error("--instances {0}: there must be two at least")]
    TooFewInstances(u16),
    /// The system cannot have this fault.
    #[error("--faults {0}: {1}")]
    Impossible(FaultKind, &'static str),
}

impl ChaosPlan {
    /// Checks the options.
    ///
    /// # Errors
    /// See [`InvalidChaos`]: each names the option at fault.
    pub fn from_args(args: &ChaosArgs) -> Result<Self, InvalidChaos> {
        let instances = args.instances.get();
        if instances < 2 {
            return Err(InvalidChaos::TooFewInstances(instances));
        }
        let subject = match (&args.target, &args.cacert) {
            (None, _) => Subject::Own { store: args.store, instances, keep: args.keep.clone(), broken: args.broken },
            (Some(target), None) => Subject::Running { target: target.clone(), state: args.state.clone() },
            (Some(target), Some(cacert)) => Subject::Elsewhere { target: target.clone(), cacert: cacert.clone() },
        };
        let faults = match &args.faults {
            Faults::All => FaultKind::ALL.into_iter().filter(|kind| subject.lacks(*kind).is_none()).collect(),
            Faults::These(kinds) => {
                let impossible = kinds.iter().find_map(|kind| Some((*kind, subject.lacks(*kind)?)));
                impossible.map_or(Ok(()), |(kind, why)| Err(InvalidChaos::Impossible(kind, why)))?;
                kinds.clone()
            }
        };
        Ok(Self {
            subject,
            faults,
            redis_may_go: args.redis_may_go,
            clients: NonZeroU16::get(args.clients),
            duration: args.duration,
            timeout: args.timeout,
            idempotency: args.idempotency,
            seed: args.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_all_none_or_named() {
        assert_eq!("all".parse(), Ok(Faults::All));
        assert_eq!("none".parse(), Ok(Faults::These(Vec::new())));
        assert_eq!("spill,kill-redis".parse(), Ok(Faults::These(vec![FaultKind::Spill, FaultKind::KillRedis])));
        for (wrong, said) in [
            ("scale,scale", "'scale' is named twice"),
            ("", "there is no fault ''"),
            ("all,scale", "there is no fault 'all'"),
        ] {
            let error = wrong.parse::<Faults>().expect_err("refused").to_string();
            assert!(error.starts_with(said), "{wrong}: {error}");
        }
    }
}
