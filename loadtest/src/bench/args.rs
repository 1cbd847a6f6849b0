//! Options of `loadtest bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::contender::Contender;

/// A group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Reads of hot sessions, compared with stateless requests.
    Reads,
    /// Messages, compared with redis-benchmark of the same script.
    Writes,
    /// Memory of hot sessions, and read latency with many of them.
    Memory,
    /// The gateway compared with other proxies.
    Proxies,
}

/// Options of `loadtest bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Parts to run, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Part::Reads, Part::Writes, Part::Memory, Part::Proxies]
    )]
    pub parts: Vec<Part>,

    /// Connections of each load, with one request at a time on each
    #[arg(long, short, value_name = "N", default_value = "64")]
    pub connections: NonZeroUsize,

    /// Rounds of each load, alternating with the others
    #[arg(long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,

    /// Sessions in one instance's memory, in the part `memory`
    #[arg(long, value_name = "N", default_value = "100000")]
    pub hot_sessions: NonZeroUsize,

    /// Proxies to compare in `proxies`
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = Contender::value_variants().to_vec()
    )]
    pub proxies: Vec<Contender>,

    /// Another build of the gateway to compare with: measures a change
    #[arg(long, value_name = "FILE")]
    pub other_gateway: Option<PathBuf>,

    /// Connections of each load of `proxies`
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values = ["16", "64", "256", "1024"]
    )]
    pub proxy_connections: Vec<NonZeroUsize>,

    /// Threads of each proxy
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,

    /// Smoke test of a few seconds; its figures are meaningless
    #[arg(long)]
    pub quick: bool,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
