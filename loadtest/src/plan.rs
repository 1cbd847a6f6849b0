//! The validated plan of `loadtest compare`, and its options.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use proto_contracts::control::Strategy;
use serde::Serialize;

use crate::duration::parse_time;
use crate::output::ReportFiles;
use crate::target::{InvalidTarget, Reach, Target};

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `GET info`, served by any instance.
    Stateless,
    /// Sessions: created, written to and read.
    Stateful,
}

impl Kind {
    /// The name in the report.
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
    /// After the response to the connection's previous request. A slow system gets fewer requests,
    /// so this measures throughput, not the latency that users would see.
    ClosedLoop,
    /// At fixed times, this many per second. Latency counts from the due time, so waiting for a
    /// free connection is included: no coordinated omission.
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

/// How a stateful request is routed to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// By the session id in its path, as from a client without cookies.
    Path,
    /// By the affinity cookie, as from a browser; messages have the session id in the body.
    Cookie,
}

/// What a client does with each session that it creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SessionMix {
    /// Messages to each session.
    pub messages: u32,
    /// Reads of each session, in between.
    pub reads: u32,
    /// How requests are routed.
    pub affinity: Affinity,
}

/// One kind of load and its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which kind.
    pub kind: Kind,
    /// When its requests are sent.
    pub pacing: Pacing,
    /// The routing strategy that its requests demand, in place of the pool's.
    pub strategy: Option<Strategy>,
}

impl Phase {
    /// The name in the progress display.
    pub(crate) fn name(&self) -> &'static str {
        self.strategy.map_or(self.kind.as_str(), Strategy::as_str)
    }
}

/// Options of a load.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// URL of the system: its gateway's URL, or its Nginx's https URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub target: String,

    /// PEM file of the CA that signed an https target's certificate
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Allow a target on another machine; only use it where you are permitted to
    #[arg(long)]
    pub allow_remote: bool,

    /// Duration of each kind of load: 90s, 2m, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub duration: Duration,

    /// Connections per kind, with one request at a time on each
    #[arg(long, short, value_name = "N", default_value = "32")]
    pub connections: NonZeroUsize,

    /// Requests per second of each kind, at fixed times (open loop); without it, each connection
    /// sends its next request after the response to the last (closed loop)
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,

    /// Messages per session
    #[arg(long, value_name = "N", default_value = "1")]
    pub messages: u32,

    /// Reads per session
    #[arg(long, value_name = "N", default_value = "2")]
    pub reads: u32,

    /// How stateful requests are routed to their instance
    #[arg(long, value_enum, default_value_t = Affinity::Path)]
    pub affinity: Affinity,

    /// Timeout of a request, and of the outstanding ones at the end of an open loop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Seed of the order of requests and of the messages
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
}

impl LoadArgs {
    /// When requests are sent, with this rate instead of `--rate`.
    pub(crate) fn pacing(&self, rate: Option<NonZeroU32>) -> Pacing {
        rate.or(self.rate).map_or(Pacing::ClosedLoop, Pacing::OpenLoop)
    }

    /// Which targets are allowed.
    fn reach(&self) -> Reach {
        if self.allow_remote { Reach::Anywhere } else { Reach::ThisMachine }
    }
}

/// Options of `loadtest compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The load
    #[command(flatten)]
    pub load: LoadArgs,

    /// Rate of stateless requests, instead of --rate
    #[arg(long, value_name = "PER_SECOND")]
    pub rate_stateless: Option<NonZeroU32>,

    /// Rate of stateful requests, instead of --rate
    #[arg(long, value_name = "PER_SECOND")]
    pub rate_stateful: Option<NonZeroU32>,

    /// Kinds to run, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Kind::Stateless, Kind::Stateful]
    )]
    pub kinds: Vec<Kind>,

    /// Whether the kinds run one after the other or concurrently
    #[arg(long, value_enum, default_value_t = Order::Sequence)]
    pub order: Order,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}

impl CompareArgs {
    /// The rate option of this kind.
    fn rate_of(&self, kind: Kind) -> Option<NonZeroU32> {
        match kind {
            Kind::Stateless => self.rate_stateless,
            Kind::Stateful => self.rate_stateful,
        }
    }
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
    /// Timeout of a request, and of the outstanding ones at the end of an open loop.
    pub timeout: Duration,
    /// What the stateful clients do.
    pub sessions: SessionMix,
    /// Seed of the order of requests and of the messages.
    pub seed: u64,
}

/// The command line is invalid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPlan {
    /// The target is invalid.
    #[error("--target")]
    Target(#[from] InvalidTarget),
    /// A kind may run only once.
    #[error("--kinds names {} twice", .0.as_str())]
    KindTwice(Kind),
    /// The rate of a kind that does not run.
    #[error("--rate-{kind} is set, but --kinds omits {kind}", kind = .0.as_str())]
    RateWithoutKind(Kind),
}

impl Plan {
    /// Checks the options. Resolves the target's name and reads the file of `--cacert`.
    ///
    /// # Errors
    /// See [`InvalidPlan`]: each names the invalid option.
    pub async fn from_args(args: &CompareArgs) -> Result<Self, InvalidPlan> {
        let mut phases: Vec<Phase> = Vec::new();
        for &kind in &args.kinds {
            if phases.iter().any(|phase| phase.kind == kind) {
                return Err(InvalidPlan::KindTwice(kind));
            }
            let pacing = args.load.pacing(args.rate_of(kind));
            phases.push(Phase { kind, pacing, strategy: None });
        }
        for kind in [Kind::Stateless, Kind::Stateful] {
            if args.rate_of(kind).is_some() && !args.kinds.contains(&kind) {
                return Err(InvalidPlan::RateWithoutKind(kind));
            }
        }
        Ok(Self::new(&args.load, phases, args.order).await?)
    }

    /// The plan of these phases.
    ///
    /// # Errors
    /// When the target is invalid.
    pub(crate) async fn new(
        load: &LoadArgs,
        phases: Vec<Phase>,
        order: Order,
    ) -> Result<Self, InvalidTarget> {
        Ok(Self {
            target: Target::resolve(&load.target, load.cacert.as_deref(), load.reach()).await?,
            phases,
            order,
            duration: load.duration,
            connections: load.connections,
            timeout: load.timeout,
            sessions: SessionMix {
                messages: load.messages,
                reads: load.reads,
                affinity: load.affinity,
            },
            seed: load.seed,
        })
    }
}
