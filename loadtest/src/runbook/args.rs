//! Options of `loadtest runbook`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_time;

/// Options of `loadtest runbook`.
#[derive(Clone, Debug, Args)]
pub struct RunbookArgs {
    /// The runbook, in docs/ of the repository
    #[arg(long, value_name = "FILE", default_value = "docs/RUNBOOK.md")]
    pub file: PathBuf,

    /// Only sections whose titles contain one of these, comma-separated
    #[arg(long, value_name = "TITLES", value_delimiter = ',')]
    pub sections: Vec<String>,

    /// Requests per second
    #[arg(long, value_name = "PER_SECOND", default_value = "100")]
    pub rate: NonZeroU32,

    /// Connections, with one request at a time on each
    #[arg(long, short, value_name = "N", default_value = "16")]
    pub connections: NonZeroU32,

    /// Timeout of a request
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
