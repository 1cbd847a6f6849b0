//! Options of `loadtest logins`.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_time;

/// Options of `loadtest logins`.
#[derive(Clone, Debug, Args)]
pub struct LoginsArgs {
    /// Pairs of rejected logins: one with an unknown username, one with a wrong password
    #[arg(long, value_name = "N", default_value = "1000")]
    pub pairs: NonZeroU16,

    /// Clients that log in at once
    #[arg(long, value_name = "N", default_value = "200")]
    pub clients: NonZeroU16,

    /// Duration of the logins, and of the undisturbed calls before
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub duration: Duration,

    /// Calls of GET info per second
    #[arg(long, value_name = "N", default_value = "200")]
    pub rate: NonZeroU32,

    /// Maximum ratio of the calls' p99 beside the logins to that before; 0 for no limit
    #[arg(long, value_name = "RATIO", default_value = "2")]
    pub max_p99_ratio: f64,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
