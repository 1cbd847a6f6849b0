//! What to run, checked.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use local_stack::{SmallDisk, Store};

use crate::chaos::args::{ChaosArgs, Guarantee, Idempotency};
use crate::chaos::fault_kind::{FaultKind, Faults};

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
        /// Its state folder, which has the address of its agent.
        state: PathBuf,
    },
    /// A system known only by its URL, so that no fault can be injected.
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
            (Self::Own { store: Store::Memory, .. }, FaultKind::Spill) => Some(
                "with --store memory, where nobody but its home knows a session, the gateway does not spill",
            ),
            (Self::Own { .. }, FaultKind::FullDisk) if !SmallDisk::may_mount() => Some(
                "a disk that is filled is a file system of its own, and mounting one takes root",
            ),
            (Self::Running { .. }, FaultKind::FullDisk) => Some(
                "the disk of a running system is not filled; without --target the run has one of its own",
            ),
            (Self::Running { .. }, FaultKind::TwoGateways) => Some(
                "a second gateway is started beside a system of this run's own alone, not with --target",
            ),
            (Self::Own { store: Store::Memory, .. }, FaultKind::CutReply) => {
                Some("with --store memory there is no Redis that replies")
            }
            (Self::Running { .. }, FaultKind::CutReply) => Some(
                "what loses replies is put before the Redis of a system of this run's own alone, not with --target",
            ),
            (Self::Elsewhere { .. }, _) => {
                Some("with --cacert the system is nobody's to break; say --faults none")
            }
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
    /// Whether faults from outside the run may make Redis unavailable at any time.
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
    /// The last instance cannot be removed, and a single instance has none to fail over to.
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
            (None, _) => Subject::Own {
                store: args.store,
                instances,
                keep: args.keep.clone(),
                broken: args.broken,
            },
            (Some(target), None) => {
                Subject::Running { target: target.clone(), state: args.state.clone() }
            }
            (Some(target), Some(cacert)) => {
                Subject::Elsewhere { target: target.clone(), cacert: cacert.clone() }
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
