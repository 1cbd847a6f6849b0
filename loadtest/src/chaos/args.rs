//! Options of `loadtest chaos`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use local_stack::Store;
use proto_contracts::PoolName;
use serde::Serialize;

use crate::chaos::fault_kind::Faults;
use crate::duration::parse_time;
use crate::output::ReportFiles;

/// Options of `loadtest chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Session store of the stateful service
    #[arg(long, value_enum, default_value_t, conflicts_with = "target")]
    pub store: Store,

    /// Use the running system at this URL, started by `make up`: its gateway's URL, or its Nginx's
    /// https URL
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,

    /// The state folder of the running system
    #[arg(long, value_name = "DIR", default_value = ".local", requires = "target")]
    pub state: PathBuf,

    /// PEM file of the CA that signed the target's certificate. For a target that `make up` did not
    /// start; requires --faults none
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "state")]
    pub cacert: Option<PathBuf>,

    /// Faults to inject: all, none, or a comma-separated list of kill-stateful, pause-stateful,
    /// kill-redis, restart-redis, scale, roll-stateless, roll-stateful, reload, upgrade-gateway,
    /// toggle-strategy, kill-gateway, kill-postgres, spill, two-gateways, cut-reply, hang-stateful,
    /// hang-redis, full-disk (requires root), wrong-instance, drain-again, kill-stateless,
    /// hang-stateless, restart-postgres, hang-postgres, kill-cache and hang-cache
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// Something else may make Redis fail at any time: unverified reads are counted, but are not
    /// violations
    #[arg(long, requires = "cacert")]
    pub redis_may_go: bool,

    /// Minimum duration: 90s, 2m, or a number of seconds; extended until each fault was injected
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub duration: Duration,

    /// Seed of the faults, their order and durations, and of the clients' choices; interleavings
    /// still vary
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Clients, each with one connection; groups of three share a session
    #[arg(long, value_name = "N", default_value = "48")]
    pub clients: NonZeroU16,

    /// Instances of the stateful service, at least two
    #[arg(long, value_name = "N", default_value = "3", conflicts_with = "target")]
    pub instances: NonZeroU16,

    /// Whether writes of unknown outcome are retried under their Idempotency-Key
    #[arg(long, value_enum, default_value_t = Idempotency::Auto)]
    pub idempotency: Idempotency,

    /// Timeout of a request, after which its outcome is unknown. The default is longer than any
    /// deadline of the gateway
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Disable a guarantee of a service by a failpoint, to check that violations are found; needs
    /// the binary that `make broken` builds. One of each service, separated by a comma
    #[arg(
        long,
        value_enum,
        value_name = "GUARANTEE",
        value_delimiter = ',',
        conflicts_with = "target"
    )]
    pub broken: Vec<Guarantee>,

    /// Keep the system's data and logs in this folder instead of a temporary one
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub keep: Option<PathBuf>,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}

/// Whether a write of unknown outcome is repeated under its idempotency key until it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// If a probe at the start shows that the system replays the response to a repeated write.
    Auto,
    /// Always. A system that ignores the key executes such writes twice, which is reported.
    On,
    /// Never: the reads at the end show whether the write was executed.
    Off,
}

/// A guarantee that a failpoint disables, to check that violations are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// A write waits until no instance holds an older copy.
    NoHandover,
    /// A copy is served only while its lease is valid, and dropped with it.
    NoLeaseCheck,
    /// An instance drops its copy on a drop request.
    NoDrop,
    /// A claim leaves a session under its new id alone.
    NoRename,
    /// The cache stores no product that was changed since it was read.
    NoGenerationCheck,
    /// A change keeps its Idempotency-Key.
    NoKeptKey,
}

impl Guarantee {
    /// The value of the service's setting.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoHandover => "no-handover",
            Self::NoLeaseCheck => "no-lease-check",
            Self::NoDrop => "no-drop",
            Self::NoRename => "no-rename",
            Self::NoGenerationCheck => "no-generation-check",
            Self::NoKeptKey => "no-kept-key",
        }
    }

    /// The service that gives it.
    pub(crate) const fn pool(self) -> PoolName {
        match self {
            Self::NoHandover | Self::NoLeaseCheck | Self::NoDrop | Self::NoRename => {
                PoolName::Stateful
            }
            Self::NoGenerationCheck | Self::NoKeptKey => PoolName::Stateless,
        }
    }
}
