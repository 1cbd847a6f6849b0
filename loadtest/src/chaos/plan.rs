//! The validated options of a run.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use local_stack::{SmallDisk, Store};
use proto_contracts::PoolName;

use crate::chaos::args::{ChaosArgs, Guarantee, Idempotency};
use crate::chaos::fault_kind::{FaultKind, Faults};

/// The system under test.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A stack that is started for the run and stopped after it.
    Own {
        /// Where the stateful service keeps its sessions.
        store: Store,
        /// Number of its instances.
        instances: u16,
        /// Folder that keeps data and logs; `None` for a temporary one.
        keep: Option<PathBuf>,
        /// The guarantees that failpoints disable, at most one of each service.
        broken: Vec<Guarantee>,
    },
    /// A running system, started by `make up`.
    Running {
        /// Where it takes requests.
        target: String,
        /// Its state folder, which has the address of its agent.
        state: PathBuf,
    },
    /// A system known only by its URL, so that no fault can be injected.
    Remote {
        /// Where it takes requests.
        target: String,
        /// The authority that signed its certificate.
        cacert: PathBuf,
    },
}

impl Subject {
    /// How many users claim sessions. Nginx limits how many may log in at a time, and a stack of
    /// the run's own is used without it.
    pub(crate) const fn users(&self) -> u32 {
        match self {
            Self::Own { .. } => 8,
            Self::Running { .. } | Self::Remote { .. } => 2,
        }
    }

    /// How often a visitor registers. Argon2 takes as much time as many requests, and Nginx allows
    /// five registrations and logins a minute.
    pub(crate) const fn visit_every(&self) -> Option<Duration> {
        match self {
            Self::Own { .. } => Some(Duration::from_secs(2)),
            Self::Running { .. } => Some(Duration::from_secs(45)),
            Self::Remote { .. } => None,
        }
    }

    /// Why this fault cannot be injected into the system, if so.
    fn lacks(&self, kind: FaultKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Own { store: Store::Memory, .. }, FaultKind::Spill) => Some(
                "with --store memory only the home holds a session, so the gateway does not spill",
            ),
            (Self::Own { .. }, FaultKind::FullDisk) if !SmallDisk::may_mount() => {
                Some("it fills a separate file system, and mounting one requires root")
            }
            (Self::Running { .. }, FaultKind::FullDisk) => {
                Some("it would fill the running system's disk; omit --target to use a separate one")
            }
            (Self::Running { .. }, FaultKind::TwoGateways) => {
                Some("a second gateway cannot be started for a running system; omit --target")
            }
            (Self::Own { store: Store::Memory, .. }, FaultKind::CutReply) => {
                Some("with --store memory there is no Redis")
            }
            (Self::Running { .. }, FaultKind::CutReply) => Some(
                "a running system has no proxy before its Redis that drops replies; omit --target",
            ),
            (Self::Remote { .. }, _) => {
                Some("with --cacert no fault can be injected; use --faults none")
            }
            _ => None,
        }
    }
}

/// A validated plan.
#[derive(Clone, Debug)]
pub struct ChaosPlan {
    /// The system under test.
    pub subject: Subject,
    /// Faults to inject.
    pub faults: Vec<FaultKind>,
    /// Whether faults from outside the run may make Redis unavailable at any time.
    pub redis_may_go: bool,
    /// Number of clients.
    pub clients: u16,
    /// Minimum duration; extended until each fault was injected once.
    pub duration: Duration,
    /// Timeout of a request, after which its outcome is unknown.
    pub timeout: Duration,
    /// Whether writes of unknown outcome are repeated.
    pub idempotency: Idempotency,
    /// Seed of the faults, their order and durations, and of the clients' choices.
    pub seed: u64,
}

/// The options are invalid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChaos {
    /// The last instance cannot be removed, and a single instance has none to fail over to.
    #[error("--instances {0}: at least two are required")]
    TooFewInstances(u16),
    /// A service reads the name of one failpoint.
    #[error("--broken: one guarantee of the {0} service at a time")]
    TwoFailpoints(PoolName),
    /// This fault cannot be injected into the system.
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
        for pool in PoolName::ALL {
            if args.broken.iter().filter(|guarantee| guarantee.pool() == pool).count() > 1 {
                return Err(InvalidChaos::TwoFailpoints(pool));
            }
        }
        let subject = match (&args.target, &args.cacert) {
            (None, _) => Subject::Own {
                store: args.store,
                instances,
                keep: args.keep.clone(),
                broken: args.broken.clone(),
            },
            (Some(target), None) => {
                Subject::Running { target: target.clone(), state: args.state.clone() }
            }
            (Some(target), Some(cacert)) => {
                Subject::Remote { target: target.clone(), cacert: cacert.clone() }
            }
        };
        let faults = match &args.faults {
            Faults::All => {
                FaultKind::ALL.into_iter().filter(|kind| subject.lacks(*kind).is_none()).collect()
            }
            Faults::These(kinds) => {
                let impossible = kinds.iter().find_map(|kind| Some((*kind, subject.lacks(*kind)?)));
                impossible
                    .map_or(Ok(()), |(kind, why)| Err(InvalidChaos::Impossible(kind, why)))?;
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
