//! The command line. What it says is checked when it becomes a [`Plan`](crate::plan::Plan).

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum as _};
use jiff::SignedDuration;
use local_stack::Store;

use crate::bench::plan::{Contender, Part};
use crate::chaos::plan::{Faults, Guarantee, Idempotency};
use crate::faults::table;
use crate::plan::{Affinity, Kind, Order};
use crate::target::Reach;

/// Drives load against Tandem: to measure it, or to see that it keeps its promises.
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
    /// Break the system under load, and check that nothing its clients were told is taken back.
    ///
    /// Starts a system of its own, unless told of a running one. Clients create sessions, post messages to them, patch, read and delete them, some of
    /// them the same session at once, while faults are caused, one at a time. A ledger holds every act with its times and
    /// its outcome: acknowledged, refused or unknown. At the end every session is read once more, and the ledger is checked:
    /// nothing acknowledged is lost, doubled or out of order, nobody saw a state older than one that was known, or another
    /// session's, and what was deleted stayed so. Needs the workspace's binaries, of this program's own profile.
    #[command(after_help = CHAOS_EXIT_STATUS)]
    Chaos(ChaosArgs),
    /// Do what operators do under load, and see that no request fails.
    ///
    /// Starts a system of its own. Requests of all kinds are due at fixed times, and streams of events are followed, while
    /// every instance of both pools is restarted in turn, pools are scaled from two to four and back, the configuration is
    /// reloaded and the gateway is upgraded. Nothing is repeated by the clients, so each request that fails is counted. A
    /// stream may end with its instance or its gateway; resumed, it must go on without a gap. Needs the workspace's binaries.
    #[command(after_help = ROLLOUT_EXIT_STATUS)]
    Rollout(RolloutArgs),
    /// Be one hostile client beside many good ones, and see that nobody is hurt.
    ///
    /// Starts a system of its own. Good requests are due at fixed times, first undisturbed. Then one anonymous client
    /// tries escaped paths, slow bodies, aborted requests, streams opened and closed, slow readers and refused upgrades over
    /// many connections. No instance may be ejected for it, no good request may fail, and the good requests' p99 may
    /// only be so much longer. Needs the workspace's binaries.
    #[command(after_help = ABUSE_EXIT_STATUS)]
    Abuse(AbuseArgs),
    /// Run a command under load, and see that no request fails.
    ///
    /// The system runs already, and the command does something to it: `loadtest during -- docker compose up -d
    /// --force-recreate gateway`. Requests of all kinds are due at fixed times, and streams of events are followed, from before
    /// the command starts until a while after it has ended. Nothing is repeated by the clients. A message that was
    /// acknowledged and is missing is a failure, too.
    #[command(after_help = DURING_EXIT_STATUS)]
    During(DuringArgs),
    /// Run every command of the runbook under load, and count failed requests by section.
    ///
    /// Starts a system of its own, with two gateways behind Nginx. The commands of each section run in order, as they stand;
    /// those that need containers or another system are listed with the reason. A section that promises that no request
    /// fails is held to it. Needs the workspace's binaries.
    #[command(after_help = RUNBOOK_EXIT_STATUS)]
    Runbook(RunbookArgs),
    /// Kill, hang, slow down and fill each part, and see that clients see what the runbook's table says.
    ///
    /// Starts systems of its own, behind Nginx. Statuses, codes and whether there is a response are compared; how long it
    /// takes is printed. Needs the workspace's binaries.
    #[command(after_help = FAULTS_EXIT_STATUS)]
    Faults(FaultsArgs),
    /// Measure what the system costs, side by side with what limits it.
    ///
    /// Starts systems of its own, one for each part. The loads of a part take turns; a figure is the median of the rounds, with
    /// the least and the most. Needs the workspace's binaries, of this program's own profile, and redis-benchmark
    /// (Debian's redis-tools). The part `proxies` sets the gateway beside Nginx, HAProxy and Caddy, which must be installed.
    #[command(after_help = BENCH_EXIT_STATUS)]
    Bench(BenchArgs),
    /// Be the origins behind the proxies that `bench` compares
    #[command(hide = true)]
    Origins(OriginsArgs),
}

const ROLLOUT_EXIT_STATUS: &str = "Exit status: 0 when no request failed, no stream had a gap and every stopped \
                                   stateful instance gave its lease back, 1 when not or when an operation failed, 64 when the command line is wrong.";

const ABUSE_EXIT_STATUS: &str = "Exit status: 0 when no instance was ejected, no good request failed and their p99 kept its bound, \
                                 1 when not, 64 when the command line is wrong.";

const DURING_EXIT_STATUS: &str = "Exit status: 0 when no request failed and no stream had a gap, 1 when one did or the command \
                                  failed, 64 when the command line is wrong.";

const FAULTS_EXIT_STATUS: &str = "Exit status: 0 when clients saw what the table says, 1 when not or when a fault could not be \
                                  caused, 64 when the command line is wrong.";

const RUNBOOK_EXIT_STATUS: &str = "Exit status: 0 when every command succeeded and every promise held, 1 when not, 64 when the \
                                   command line is wrong.";

const BENCH_EXIT_STATUS: &str = "Exit status: 0 when every request succeeded, 1 when some did not or something could not be \
                                 measured, 64 when the command line is wrong. A ratio that misses its bound is reported, \
                                 and is no failure: the machine may have been busy.";

const CHAOS_EXIT_STATUS: &str = "Exit status: 0 when every guarantee held, 1 when one broke or the system failed to start or \
                                 to recover, 64 when the command line is wrong.";

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

/// Options of `loadtest chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Where the stateful service keeps its sessions
    #[arg(long, value_enum, default_value_t, conflicts_with = "target")]
    pub store: Store,

    /// Break the system that listens there instead, one that `make up` has started: its gateway, or its Nginx by https
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,

    /// The state folder of the running system
    #[arg(long, value_name = "DIR", default_value = ".local", requires = "target")]
    pub state: PathBuf,

    /// PEM file of the authority that signed the target's certificate: then the target need not be one of `make up`, and
    /// nothing is done to it (--faults none)
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "state")]
    pub cacert: Option<PathBuf>,

    /// What is done to the system: all, none, or some of kill-stateful, pause-stateful, kill-redis, restart-redis, scale,
    /// toggle-strategy, kill-gateway, kill-postgres, spill, two-gateways, cut-reply, hang-stateful,
    /// hang-redis, full-disk (takes root), wrong-instance and drain-again, with commas in between
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub faults: Faults,

    /// Somebody else takes Redis from the system meanwhile, at times that are not known here: reads that it calls unverified
    /// are counted, and not held against it
    #[arg(long, requires = "cacert")]
    pub redis_may_go: bool,

    /// How long the clients are at work: 90s, 2m, or a number of seconds; longer if a fault has not happened by then
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub duration: Duration,

    /// Fixes the faults, their order and their lengths, and what each client chooses to do; not how these interleave
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Clients, each with one connection; three at a time share a session
    #[arg(long, value_name = "N", default_value = "48")]
    pub clients: NonZeroU16,

    /// Instances of the stateful service, two at least
    #[arg(long, value_name = "N", default_value = "3", conflicts_with = "target")]
    pub instances: NonZeroU16,

    /// Whether a write of unknown outcome is repeated under its Idempotency-Key until it is known
    #[arg(long, value_enum, default_value_t = Idempotency::Auto)]
    pub idempotency: Idempotency,

    /// How long a request may take; then its outcome is unknown. The default is longer than any deadline of the gateway
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Take a guarantee out of the stateful service, and see whether its loss is found: needs the program that `make
    /// broken` builds
    #[arg(long, value_enum, value_name = "GUARANTEE", conflicts_with = "target")]
    pub broken: Option<Guarantee>,

    /// Keep the system's data and logs in this folder; without it they go with the run
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub keep: Option<PathBuf>,

    /// Write the report there as JSON, beside the text on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of `loadtest rollout`.
#[derive(Clone, Debug, Args)]
pub struct RolloutArgs {
    /// How often every instance of each pool is restarted
    #[arg(long, value_name = "N", default_value = "20")]
    pub rolls: u32,

    /// How often each pool is scaled from two instances to four and back
    #[arg(long, value_name = "N", default_value = "10")]
    pub scales: u32,

    /// How often a wrong instance is added, which must be refused, and a drained one drained again
    #[arg(long, value_name = "N", default_value = "10")]
    pub mistakes: u32,

    /// How often the configuration is reloaded
    #[arg(long, value_name = "N", default_value = "10")]
    pub reloads: u32,

    /// How often the gateway is upgraded
    #[arg(long, value_name = "N", default_value = "10")]
    pub upgrades: u32,

    /// How long nothing is done first, so that there is a p99 to compare with
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub quiet: Duration,

    /// What is asked of the system meanwhile
    #[command(flatten)]
    pub load: SteadyLoad,

    /// Write the report there as JSON, beside the text on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of `loadtest abuse`.
#[derive(Clone, Debug, Args)]
pub struct AbuseArgs {
    /// How long the hostile client is at work: 90s, 2m, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub duration: Duration,

    /// How long the good requests are undisturbed first
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_time)]
    pub quiet: Duration,

    /// Connections of the hostile client
    #[arg(long, value_name = "N", default_value = "50")]
    pub abusive_connections: NonZeroU32,

    /// How many times as long the good requests' p99 may be; 0 for any
    #[arg(long, value_name = "RATIO", default_value = "2")]
    pub max_p99_ratio: f64,

    /// The good requests
    #[command(flatten)]
    pub load: SteadyLoad,

    /// Write the report there as JSON, beside the text on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of `loadtest faults`.
#[derive(Clone, Debug, Args)]
pub struct FaultsArgs {
    /// Only these, such as redis-sessions-hung,stateful-1-killed
    #[arg(long, value_name = "CASES", value_delimiter = ',', value_parser = known_case)]
    pub only: Vec<String>,

    /// Print the table as it stands in the runbook, and do nothing
    #[arg(long)]
    pub table: bool,

    /// Write the report there as JSON, beside the text on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn known_case(name: &str) -> Result<String, String> {
    let known = table::names();
    if known.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    Err(format!("there is no such case; there are {}", known.join(", ")))
}

/// Options of `loadtest runbook`.
#[derive(Clone, Debug, Args)]
pub struct RunbookArgs {
    /// The runbook, in docs/ of the repository
    #[arg(long, value_name = "FILE", default_value = "docs/RUNBOOK.md")]
    pub file: PathBuf,

    /// Only sections whose titles contain one of these, with commas in between
    #[arg(long, value_name = "TITLES", value_delimiter = ',')]
    pub sections: Vec<String>,

    /// Requests a second
    #[arg(long, value_name = "PER_SECOND", default_value = "100")]
    pub rate: NonZeroU32,

    /// Connections; each carries one request at a time
    #[arg(long, short, value_name = "N", default_value = "16")]
    pub connections: NonZeroU32,

    /// How long a request may take; what takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Write the report there as JSON, beside the table on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of `loadtest during`.
#[derive(Clone, Debug, Args)]
pub struct DuringArgs {
    /// Where the system listens: a gateway, or Nginx by https
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub target: String,

    /// PEM file of the authority that signed an https target's certificate
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// What is asked of the system meanwhile
    #[command(flatten)]
    pub load: SteadyLoad,

    /// How long the load goes on after the command, as what it did may take effect later
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub settle: Duration,

    /// Write the report there as JSON, beside the text on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Requests of all kinds at fixed times, none of them repeated.
#[derive(Clone, Debug, Args)]
pub struct SteadyLoad {
    /// Requests a second
    #[arg(long, value_name = "PER_SECOND", default_value = "500")]
    pub rate: NonZeroU32,

    /// Connections; each carries one request at a time
    #[arg(long, short, value_name = "N", default_value = "64")]
    pub connections: NonZeroU32,

    /// Streams of events that are followed
    #[arg(long, value_name = "N", default_value = "8")]
    pub streams: u32,

    /// How long a request may take; what takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Fixes what the clients say
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// Send an Idempotency-Key with each write, so that the gateway may retry it
    #[arg(long)]
    pub idempotency_keys: bool,
}

/// Options of `loadtest bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which parts to run, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Reads, Part::Writes, Part::Memory, Part::Proxies])]
    pub parts: Vec<Part>,

    /// Connections of each load; each carries one request at a time
    #[arg(long, short, value_name = "N", default_value = "64")]
    pub connections: NonZeroUsize,

    /// How often each load is repeated, in turn with the others
    #[arg(long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,

    /// Sessions in one instance's memory, in the part `memory`
    #[arg(long, value_name = "N", default_value = "100000")]
    pub hot_sessions: NonZeroUsize,

    /// Who takes part in `proxies`
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contender::value_variants().to_vec())]
    pub proxies: Vec<Contender>,

    /// Another build of the gateway that takes part, too: how a change is measured
    #[arg(long, value_name = "FILE")]
    pub other_gateway: Option<PathBuf>,

    /// Connections of each load of `proxies`
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["16", "64", "256", "1024"])]
    pub proxy_connections: Vec<NonZeroUsize>,

    /// Threads of each of the proxies
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,

    /// See in seconds that everything can be measured; the figures mean nothing
    #[arg(long)]
    pub quick: bool,

    /// Write the report there as JSON, beside the tables on standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `loadtest origins`, which `loadtest bench` starts.
#[derive(Debug, Args)]
pub struct OriginsArgs {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
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
