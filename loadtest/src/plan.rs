//! What to run, checked.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::CompareArgs;
use crate::target::{InvalidTarget, Target};

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `GET info`, answered by any instance.
    Stateless,
    /// Sessions: created, spoken to and read.
    Stateful,
}

impl Kind {
    /// The name as it stands in the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Stateful => "stateful",
        }
    }
}

/// When a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// When its connection has the answer to the request before. A slow system is asked less often, so waiting is not
    /// measured: this finds the throughput, not the latency that users would see.
    ClosedLoop,
    /// At a time fixed beforehand, this many a second. Latency counts from that time, so a request that had to wait for a
    /// free connection tells so: no coordinated omission.
    OpenLoop(NonZeroU32),
}

/// How the phases follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after the other.
    Sequence,
    /// Side by side, each over its own connections.
    Together,
}

/// By what a stateful call finds its instance again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// By the session id in its path alone, as a client without a cookie jar does.
    Path,
    /// By the affinity cookie, as a browser does; messages name their session in the body.
    Cookie,
}

/// What a client does with each session that it creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SessionMix {
    /// Messages to each session.
    pub messages: u32,
    /// Reads of each session, in between.
    pub reads: u32,
    /// By what the calls stick.
    pub affinity: Affinity,
}

/// One kind of load and its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which kind.
    pub kind: Kind,
    /// When its requests are sent.
    pub pacing: Pacing,
}

/// A checked plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The system under load.
    pub target: Target,
    /// At most one phase of each kind.
    pub phases: Vec<Phase>,
    /// How the phases follow each other.
    pub order: Order,
    /// How long each phase lasts.
    pub duration: Duration,
    /// Connections of each phase.
    pub connections: NonZeroUsize,
    /// How long one request may take, and how long an open loop waits for what is outstanding at its end.
    pub timeout: Duration,
    /// What the stateful clients do.
    pub sessions: SessionMix,
    /// Fixes the order of a session's calls and its messages.
    pub seed: u64,
}

/// The command line makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPlan {
    /// The target cannot be loaded.
    #[error("--target")]
    Target(#[from] InvalidTarget),
    /// A phase's report would hide the other's.
    #[error("--kinds names {} twice", .0.as_str())]
    KindTwice(Kind),
    /// A rate was given for a kind that does not run.
    #[error("--rate-{kind} is given, but --kinds leaves {kind} out", kind = .0.as_str())]
    RateWithoutKind(Kind),
}

impl Plan {
    /// Checks the options. Resolves the target's name and reads the file of `--cacert`.
    ///
    /// # Errors
    /// See [`InvalidPlan`]: each names the option at fault.
    pub async fn from_args(args: &CompareArgs) -> Result<Self, InvalidPlan> {
        let mut phases: Vec<Phase> = Vec::new();
        for &kind in &args.kinds {
            if phases.iter().any(|phase| phase.kind == kind) {
                return Err(InvalidPlan::KindTwice(kind));
            }
            let rate = args.rate_of(kind).or(args.rate);
            phases.push(Phase { kind, pacing: rate.map_or(Pacing::ClosedLoop, Pacing::OpenLoop) });
        }
        for kind in [Kind::Stateless, Kind::Stateful] {
            if args.rate_of(kind).is_some() && !args.kinds.contains(&kind) {
                return Err(InvalidPlan::RateWithoutKind(kind));
            }
        }
        Ok(Self {
            target: Target::resolve(&args.target, args.cacert.as_deref(), args.reach()).await?,
            phases,
            order: args.order,
            duration: args.duration,
            connections: args.connections,
            timeout: args.timeout,
            sessions: SessionMix { messages: args.messages, reads: args.reads, affinity: args.affinity },
            seed: args.seed,
        })
    }
}
