//! The command line.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use service_kit::cli::Scheme;

use crate::abuse::args::AbuseArgs;
use crate::bench::args::BenchArgs;
use crate::bench::figures::FiguresArgs;
use crate::chaos::args::ChaosArgs;
use crate::drive::args::DriveArgs;
use crate::faults::args::FaultsArgs;
use crate::lesson::args::LessonArgs;
use crate::logins::args::LoginsArgs;
use crate::plan::CompareArgs;
use crate::rollout::args::{DuringArgs, RolloutArgs};
use crate::routing::RoutingArgs;
use crate::runbook::args::RunbookArgs;

/// Load generator and fault injector for Tandem: measures it, and checks its guarantees.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_STATUS)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 when every request succeeded, 1 when some failed or the target was \
     unreachable, 64 when the command line is invalid.";

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare stateless with stateful requests.
    ///
    /// Stateless: GET info. Stateful: clients that create a session, post messages to it and read
    /// it, repeatedly. The responses are checked: a lost message or session counts as an error.
    #[command(after_help = EXIT_STATUS)]
    Compare(CompareArgs),
    /// Compare sticky routing with round robin, side by side.
    ///
    /// Both loads run at once against the same instances: clients that create a session, post
    /// messages to it and read it. Each request demands its strategy by a header, which only a
    /// gateway with an open lab obeys. Shows latencies, which instance served what and why, and the
    /// share of reads from memory.
    #[command(after_help = EXIT_STATUS)]
    Routing(RoutingArgs),
    /// Inject faults under load, and check that no acknowledged operation is lost or undone.
    ///
    /// Starts its own system, unless --target names a running one. Clients create, write, patch,
    /// read and delete sessions, some concurrently on the same session, while faults are injected
    /// one at a time. A ledger records every operation with its times and outcome: acknowledged,
    /// rejected or unknown. At the end every session is read, and the ledger is checked: nothing
    /// acknowledged is lost, duplicated or reordered, no read is stale or shows another session's
    /// state, and deleted sessions stay deleted.
    ///
    /// Meanwhile users register, reserve units of products, and upload and delete files, and admins
    /// change the products. At the end these are read through every instance and Nginx, and
    /// compared with the audit log: nothing is lost, doubled, corrupt or back from deletion, and no
    /// product is older than docs/API.md says. Without an admin, as with --cacert, there are files
    /// alone. Needs the workspace's binaries of the same build profile.
    #[command(after_help = CHAOS_EXIT_STATUS)]
    Chaos(ChaosArgs),
    /// Run operations under load, and check that no request fails.
    ///
    /// Starts its own system. Requests of all kinds are sent at a constant rate, and event streams
    /// are followed, while every instance of both pools is restarted in turn, pools are scaled from
    /// two to four and back, the configuration is reloaded and the gateway is upgraded. Clients
    /// retry nothing, so each failed request is counted. A stream may end with its instance or
    /// gateway, but must resume without a gap. Needs the workspace's binaries.
    #[command(after_help = ROLLOUT_EXIT_STATUS)]
    Rollout(RolloutArgs),
    /// Run one hostile client beside normal load, and check that the load is unaffected.
    ///
    /// Starts its own system. Normal requests are sent at a constant rate, first undisturbed. Then
    /// one anonymous client sends escaped paths, slow bodies, aborted requests, streams opened and
    /// closed, slow reads and rejected upgrades over many connections. No instance may be ejected,
    /// no normal request may fail, and the p99 of the normal requests must stay within a bound.
    /// Needs the workspace's binaries.
    #[command(after_help = ABUSE_EXIT_STATUS)]
    Abuse(AbuseArgs),
    /// Measure what rejected logins show, and what many logins at once cost.
    ///
    /// Starts its own system. First, logins with an unknown username and with a wrong password
    /// alternate, and their latencies are compared by pairs. Then many clients log in at once
    /// beside calls at a constant rate: the instance's memory must stay within a bound, and the p99
    /// of the calls, too. Needs the workspace's binaries.
    #[command(after_help = LOGINS_EXIT_STATUS)]
    Logins(LoginsArgs),
    /// Run a command under load, and check that no request fails.
    ///
    /// For an operation on a running system: `loadtest during -- docker compose up -d
    /// --force-recreate gateway`. Requests of all kinds are sent at a constant rate, and event
    /// streams are followed, from before the command starts until some time after its end. Clients
    /// retry nothing. A missing acknowledged message is a failure, too.
    #[command(after_help = DURING_EXIT_STATUS)]
    During(DuringArgs),
    /// Run every command of the runbook under load, and count failed requests by section.
    ///
    /// Starts its own system, with two gateways behind Nginx. The commands of each section run in
    /// order, unchanged; those that need containers or another system are listed with the reason. A
    /// section that promises that no request fails must keep that promise. Needs the workspace's
    /// binaries.
    #[command(after_help = RUNBOOK_EXIT_STATUS)]
    Runbook(RunbookArgs),
    /// Kill, hang, slow down and fill each component, and compare what clients see with the
    /// runbook's table.
    ///
    /// Starts its own systems, behind Nginx. Statuses, codes and missing responses are compared;
    /// latencies are printed. Needs the workspace's binaries.
    #[command(after_help = FAULTS_EXIT_STATUS)]
    Faults(FaultsArgs),
    /// Teach what sticky routing is, what it costs and what breaks without it.
    ///
    /// Each lesson states a question, predicts numbers from theory, measures them on a live system,
    /// shows both with the tolerance of the sample, and puts everything back, also after Ctrl-C. A
    /// lesson uses the system of `make up` if one runs with the session store that the lesson needs.
    /// Otherwise, and if it kills something or must be alone, it starts a system of its own, which
    /// needs the workspace's binaries.
    #[command(after_help = LESSON_EXIT_STATUS)]
    Lesson(LessonArgs),
    /// Simulate clients that are started, tuned and stopped by an HTTP API.
    ///
    /// The traffic source of the board: a gateway passes settings on (`[control] driver`). It
    /// sends nothing until it is told to, and only to its target. Clients keep a session each,
    /// which they delete when they are stopped. The API needs the token in DRIVER_TOKEN, or in the
    /// file that DRIVER_TOKEN_FILE names; LOG_LEVEL sets what is logged.
    #[command(after_help = DRIVE_EXIT_STATUS)]
    Drive(DriveArgs),
    /// Measure CPU, memory and throughput, beside baselines.
    ///
    /// Starts its own systems, one for each part. The loads of a part alternate in rounds; figures
    /// are the median of the rounds, with minimum and maximum. Needs the workspace's binaries of
    /// the same build profile, and redis-benchmark (Debian's redis-tools). The part `proxies`
    /// compares the gateway with HAProxy, Nginx and Caddy, as far as they are installed.
    #[command(after_help = BENCH_EXIT_STATUS)]
    Bench(BenchArgs),
    /// Write a report of `bench` as tables and a plot, for the documentation.
    ///
    /// The plot needs the part `proxies`.
    Figures(FiguresArgs),
    /// Serve the origins behind the proxies that `bench` compares
    #[command(hide = true)]
    Origins(OriginsArgs),
    /// Relay the bytes of clients and origins, beside the proxies that `bench` compares
    #[command(hide = true)]
    Relay(RelayArgs),
}

const ROLLOUT_EXIT_STATUS: &str = "Exit status: 0 when no request failed, no stream had a gap and every stopped stateful \
     instance released its lease, 1 otherwise or when an operation failed, 64 when the command \
     line is invalid.";

const ABUSE_EXIT_STATUS: &str = "Exit status: 0 when no instance was ejected, no normal request failed and the p99 stayed \
     within its bound, 1 otherwise, 64 when the command line is invalid.";

const LOGINS_EXIT_STATUS: &str = "Exit status: 0 when the two kinds of rejected logins look alike and memory, responses and p99 \
     stayed within their bounds, 1 otherwise, 64 when the command line is invalid.";

const DURING_EXIT_STATUS: &str = "Exit status: 0 when no request failed and no stream had a gap, 1 otherwise or when the \
     command failed, 64 when the command line is invalid.";

const LESSON_EXIT_STATUS: &str = "Exit status: 0 when every prediction held, 1 otherwise, when interrupted or when something \
     could not be put back, 64 when the command line is invalid.";

const DRIVE_EXIT_STATUS: &str = "Exit status: 0 when it was stopped by a signal, 1 when it could not serve, 64 when the command \
     line or the environment is invalid.";

const FAULTS_EXIT_STATUS: &str = "Exit status: 0 when clients saw what the table says, 1 otherwise or when a fault could not \
     be injected, 64 when the command line is invalid.";

const RUNBOOK_EXIT_STATUS: &str = "Exit status: 0 when every command succeeded and every promise held, 1 otherwise, 64 when the \
     command line is invalid.";

const BENCH_EXIT_STATUS: &str = "Exit status: 0 when every request succeeded, 1 when some failed or something could not be \
     measured, 64 when the command line is invalid. A ratio outside its bound is reported, but is \
     no failure: the machine may have been busy.";

const CHAOS_EXIT_STATUS: &str = "Exit status: 0 when every guarantee held, 1 when one was violated or the system failed to \
     start or to recover, 64 when the command line is invalid.";

impl Cli {
    /// The exit status of a probe of a running driver, if that is all the command asks for. Must not
    /// be called within a Tokio runtime.
    pub fn probed(&self) -> Option<ExitCode> {
        let Command::Drive(args) = &self.command else { return None };
        Some(args.probe.probe()?.run(Scheme::Http, args.listen, "localhost"))
    }
}

/// Arguments of `loadtest relay`, which `loadtest bench` starts.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// The address to listen on
    pub listen: SocketAddr,
    /// Addresses of the origins
    #[arg(required = true)]
    pub origins: Vec<SocketAddr>,
}

/// Arguments of `loadtest origins`, which `loadtest bench` starts.
#[derive(Debug, Args)]
pub struct OriginsArgs {
    /// Names of the origins
    #[arg(required = true)]
    pub names: Vec<String>,
}
