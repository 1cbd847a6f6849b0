//! Options of `loadtest abuse`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_time;
use crate::rollout::args::SteadyLoad;

/// Options of `loadtest abuse`.
#[derive(Clone, Debug, Args)]
pub struct AbuseArgs {
    /// Duration of the hostile client: 90s, 2m, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub duration: Duration,

    /// Duration of the undisturbed load at first
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_time)]
    pub quiet: Duration,

    /// Connections of the hostile client
    #[arg(long, value_name = "N", default_value = "50")]
    pub abusive_connections: NonZeroU32,

    /// Maximum ratio of the load's p99 during the abuse to that before; 0 for no limit
    #[arg(long, value_name = "RATIO", default_value = "2")]
    pub max_p99_ratio: f64,

    /// The load
    #[command(flatten)]
    pub load: SteadyLoad,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
