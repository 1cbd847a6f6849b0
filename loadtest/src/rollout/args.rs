//! Options of `loadtest rollout` and `loadtest during`.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_time;
use crate::output::ReportFiles;

/// Options of `loadtest rollout`.
#[derive(Clone, Debug, Args)]
pub struct RolloutArgs {
    /// Number of rolling restarts of each pool
    #[arg(long, value_name = "N", default_value = "20")]
    pub rolls: u32,

    /// How often each pool is scaled from two to four instances and back
    #[arg(long, value_name = "N", default_value = "10")]
    pub scales: u32,

    /// How often a wrong instance is added, which must be rejected, and a drained one drained again
    #[arg(long, value_name = "N", default_value = "10")]
    pub mistakes: u32,

    /// How often the configuration is reloaded
    #[arg(long, value_name = "N", default_value = "10")]
    pub reloads: u32,

    /// How often the gateway is upgraded
    #[arg(long, value_name = "N", default_value = "10")]
    pub upgrades: u32,

    /// Duration of the undisturbed load at first, for a baseline p99
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub quiet: Duration,

    /// The load
    #[command(flatten)]
    pub load: SteadyLoad,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}

/// Options of `loadtest during`.
#[derive(Clone, Debug, Args)]
pub struct DuringArgs {
    /// URL of the system: a gateway's URL, or its Nginx's https URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub target: String,

    /// PEM file of the CA that signed an https target's certificate
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// The load
    #[command(flatten)]
    pub load: SteadyLoad,

    /// How long the load continues after the command, for delayed effects
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub settle: Duration,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Requests of all kinds at a constant rate, without retries.
#[derive(Clone, Debug, Args)]
pub struct SteadyLoad {
    /// Requests per second
    #[arg(long, value_name = "PER_SECOND", default_value = "500")]
    pub rate: NonZeroU32,

    /// Connections, with one request at a time on each
    #[arg(long, short, value_name = "N", default_value = "64")]
    pub connections: NonZeroU32,

    /// Event streams to follow
    #[arg(long, value_name = "N", default_value = "8")]
    pub streams: u32,

    /// Timeout of a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Seed of the messages
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Send an Idempotency-Key with each write, so that the gateway may retry it
    #[arg(long)]
    pub idempotency_keys: bool,
}
