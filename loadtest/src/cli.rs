//! The command line. What it says is checked when it becomes a [`Plan`](crate::plan::Plan).

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::plan::{Affinity, Kind, Order};
use crate::target::Reach;

/// Drives load against a running Tandem and reports what it took.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_STATUS)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 when every request succeeded, 1 when some did not or the target could not be \
                           reached, 64 when the command line is wrong.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure stateless calls beside stateful ones.
    ///
    /// Stateless: GET info. Stateful: clients that each create a session, then post messages to it and read it, over and
    /// over; the answers are checked, so a lost message or session counts as an error.
    #[command(after_help = EXIT_STATUS)]
    Compare(CompareArgs),
}

/// Options of `loadtest compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Where the system listens: the gateway, or Nginx by https
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub target: String,

    /// PEM file of the authority that signed an https target's certificate
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Load a target that is not on this machine; only do so where you may
    #[arg(long)]
    pub allow_remote: bool,

    /// How long each kind of load lasts: 90s, 2m, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub duration: Duration,

    /// Connections for each kind; each carries one request at a time
    #[arg(long, short, value_name = "N", default_value = "32")]
    pub connections: NonZeroUsize,

    /// Requests a second of each kind, due at times that are fixed beforehand (open loop); without it, each connection
    /// sends its next request when it has the answer to the last (closed loop)
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,

    /// The rate of stateless requests, instead of --rate
    #[arg(long, value_name = "PER_SECOND")]
    pub rate_stateless: Option<NonZeroU32>,

    /// The rate of stateful requests, instead of --rate
    #[arg(long, value_name = "PER_SECOND")]
    pub rate_stateful: Option<NonZeroU32>,

    /// Which kinds to run, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Stateless, Kind::Stateful])]
    pub kinds: Vec<Kind>,

    /// Whether the kinds run one after the other or side by side
    #[arg(long, value_enum, default_value_t = Order::Sequence)]
    pub order: Order,

    /// Messages to each session
    #[arg(long, value_name = "N", default_value = "1")]
    pub messages: u32,

    /// Reads of each session
    #[arg(long, value_name = "N", default_value = "2")]
    pub reads: u32,

    /// By what stateful calls stick to their instance
    #[arg(long, value_enum, default_value_t = Affinity::Path)]
    pub affinity: Affinity,

    /// How long a request may take, and how long the ones that are outstanding at the end of an open loop are waited
    /// for; what takes longer is an error
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Fixes the order of a session's calls and its messages
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Write the report there as JSON, beside the table on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl CompareArgs {
    /// The rate that was given for this kind alone.
    pub(crate) fn rate_of(&self, kind: Kind) -> Option<NonZeroU32> {
        match kind {
            Kind::Stateless => self.rate_stateless,
            Kind::Stateful => self.rate_stateful,
        }
    }

    /// How far the load may go.
    pub(crate) fn reach(&self) -> Reach {
        if self.allow_remote { Reach::Anywhere } else { Reach::ThisMachine }
    }
}

/// A time as people write it: `90s`, `2m`, `1m 30s`, or a bare number of seconds.
fn parse_time(text: &str) -> Result<Duration, String> {
    let in_seconds = text.parse().map(Duration::from_secs).ok();
    let time = in_seconds.or_else(|| text.parse::<SignedDuration>().ok()?.try_into().ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "write a time such as 90s, 2m or 1m 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        for (text, seconds) in [("8", 8), ("8s", 8), ("2m", 120), ("1m 30s", 90)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "-1s", "soon", "8 parsecs"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
