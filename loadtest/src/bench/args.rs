//! Options of `loadtest bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::contender::Contender;
use super::workload::Workload;
use crate::output::ReportFiles;

/// A group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Reads of hot sessions, compared with stateless requests.
    Reads,
    /// Reads of sessions with an access token, compared with reads without one.
    Tokens,
    /// Messages, compared with redis-benchmark of the same script.
    Writes,
    /// Memory of hot sessions, and read latency with many of them.
    Memory,
    /// Requests beside open boards, compared with the same without one.
    Board,
    /// The gateway compared with other proxies.
    Proxies,
    /// The same requests with and without TLS between the tiers; only if it is named.
    Tls,
    /// Memory of idle clients of each proxy, and the latency of requests beside them.
    Idle,
}

/// Options of `loadtest bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Parts to run, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [
            Part::Reads,
            Part::Tokens,
            Part::Writes,
            Part::Memory,
            Part::Board,
            Part::Proxies,
            Part::Idle,
        ]
    )]
    pub parts: Vec<Part>,

    /// Connections of each load, with one request at a time on each
    #[arg(long, short, value_name = "N", default_value = "64")]
    pub connections: NonZeroUsize,

    /// Rounds of each load, alternating with the others
    #[arg(long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,

    /// Duration of each load in each round, seconds
    #[arg(long, value_name = "S", default_value = "3")]
    pub round_s: NonZeroU32,

    /// Sessions in one instance's memory, in the part `memory`
    #[arg(long, value_name = "N", default_value = "100000")]
    pub hot_sessions: NonZeroUsize,

    /// Proxies to compare in `proxies` and `idle` [default: gateway, gateway-pingora, haproxy,
    /// nginx and caddy, if they are installed, and relay]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub proxies: Option<Vec<Contender>>,

    /// Kinds of requests of `proxies`
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = Workload::value_variants().to_vec()
    )]
    pub workloads: Vec<Workload>,

    /// Another build of the gateway to compare with: measures a change
    #[arg(long, value_name = "FILE")]
    pub other_gateway: Option<PathBuf>,

    /// Connections of the workloads `small` and `behind-nginx`
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values = ["16", "64", "256", "1024", "4096"]
    )]
    pub proxy_connections: Vec<NonZeroUsize>,

    /// Connections of the other workloads
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["64"])]
    pub bulk_connections: Vec<NonZeroUsize>,

    /// Threads of each proxy; several numbers are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1"])]
    pub threads: Vec<NonZeroUsize>,

    /// Idle clients of each proxy in `idle`; fewer if the file descriptors don't suffice
    #[arg(long, value_name = "N", default_value = "15000")]
    pub idle_clients: NonZeroUsize,

    /// Requests per second beside them
    #[arg(long, value_name = "N", default_value = "200")]
    pub idle_rate: NonZeroU32,

    /// Requests per second beside open boards, in `board`
    #[arg(long, value_name = "N", default_value = "2000")]
    pub board_rate: NonZeroU32,

    /// Smoke test of a few seconds; its figures are meaningless
    #[arg(long)]
    pub quick: bool,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}
