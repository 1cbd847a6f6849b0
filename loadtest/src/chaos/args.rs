//! Options of `loadtest chaos`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use local_stack::Store;

use crate::chaos::plan::{Faults, Guarantee, Idempotency};
use crate::duration::parse_time;

/// Options of `loadtest chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Session store of the stateful service
    #[arg(long, value_enum, default_value_t, conflicts_with = "target")]
    pub store: Store,

    /// Use the running system at this URL, started by `make up`: of its gateway, or of its Nginx by https
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,

    /// The state folder of the running system
    #[arg(long, value_name = "DIR", default_value = ".local", requires = "target")]
    pub state: PathBuf,

    /// PEM file of the CA that signed the target's certificate: for a target that `make up` did not start, without
    /// faults (--faults none)
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "state")]
    pub cacert: Option<PathBuf>,

    /// Faults to inject: all, none, or a comma-separated list of kill-stateful, pause-stateful, kill-redis, restart-redis, scale,
    /// toggle-strategy, kill-gateway, kill-postgres, spill, two-gateways, cut-reply, hang-stateful,
    /// hang-redis, full-disk (requires root), wrong-instance and drain-again
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// Redis may fail at any time by external faults: reads marked unverified are counted, but are no violations
    #[arg(long, requires = "cacert")]
    pub redis_may_go: bool,

    /// Minimum duration: 90s, 2m, or a number of seconds; extended until each fault has happened
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub duration: Duration,

    /// Seed of the faults, their order and durations, and of the clients' choices; interleavings still vary
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

    /// Timeout of a request; then its outcome is unknown. The default is longer than any deadline of the gateway
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Disable a guarantee of the stateful service by a failpoint, to check that violations are found; needs the
    /// binary that `make broken` builds
    #[arg(long, value_enum, value_name = "GUARANTEE", conflicts_with = "target")]
    pub broken: Option<Guarantee>,

    /// Keep the system's data and logs in this folder instead of a temporary one
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub keep: Option<PathBuf>,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
