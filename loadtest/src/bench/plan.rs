//! The plan of `loadtest bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::{BenchArgs, Part};
use super::contender::Contender;
use super::workload::Workload;

/// What to measure, and how much.
#[derive(Clone, Debug, Serialize)]
pub struct BenchPlan {
    /// Parts, in this order.
    pub parts: Vec<Part>,
    /// Connections of each load, with one request at a time on each.
    pub connections: usize,
    /// Rounds of each load, alternating with the others of its part.
    pub rounds: usize,
    /// Duration of each load in each round, seconds.
    pub round_s: f64,
    /// Sessions to read and write in turn.
    pub sessions: usize,
    /// Sessions of the part `memory`.
    pub hot_sessions: usize,
    /// Sessions of the instance with few.
    pub few_hot_sessions: usize,
    /// Messages per session of the part `memory`.
    pub messages: usize,
    /// Proxies of the parts `proxies` and `idle`.
    pub proxies: Vec<Contender>,
    /// Proxies that are left out, since they are not installed.
    pub not_installed: Vec<Contender>,
    /// Kinds of requests of the part `proxies`.
    pub workloads: Vec<Workload>,
    /// Another build of the gateway to compare with.
    pub other_gateway: Option<PathBuf>,
    /// Connections of the workloads whose cost depends on their number.
    pub proxy_connections: Vec<usize>,
    /// Connections of the other workloads.
    pub bulk_connections: Vec<usize>,
    /// Threads of each proxy, measured one after the other.
    pub threads: Vec<usize>,
    /// Idle clients of the part `idle`, if there are enough file descriptors.
    pub idle_clients: usize,
    /// Requests per second beside them.
    pub idle_rate: NonZeroU32,
    /// Requests per second beside open boards.
    pub board_rate: NonZeroU32,
}

impl BenchPlan {
    /// The plan of a command line.
    pub fn from_args(args: &BenchArgs) -> Self {
        let (proxies, not_installed) = match &args.proxies {
            Some(proxies) => (proxies.clone(), Vec::new()),
            None => Contender::DEFAULT.into_iter().partition(|contender| is_installed(*contender)),
        };
        let numbers = |numbers: &[NonZeroUsize]| numbers.iter().map(|n| n.get()).collect();
        let full = Self {
            parts: args.parts.clone(),
            connections: args.connections.get(),
            rounds: args.rounds.get(),
            round_s: f64::from(args.round_s.get()),
            sessions: 10_000,
            hot_sessions: args.hot_sessions.get(),
            few_hot_sessions: 1_000,
            messages: 10,
            proxies,
            not_installed,
            workloads: args.workloads.clone(),
            other_gateway: args.other_gateway.clone(),
            proxy_connections: numbers(&args.proxy_connections),
            bulk_connections: numbers(&args.bulk_connections),
            threads: numbers(&args.threads),
            idle_clients: args.idle_clients.get(),
            idle_rate: args.idle_rate,
            board_rate: args.board_rate,
        };
        if !args.quick {
            return full;
        }
        Self {
            rounds: 1,
            round_s: 0.2,
            sessions: 50,
            hot_sessions: 200,
            few_hot_sessions: 20,
            messages: 2,
            proxy_connections: vec![8],
            bulk_connections: vec![4],
            idle_clients: 60,
            ..full
        }
    }

    /// The loads of the part `proxies`: workloads, each with numbers of connections.
    pub(crate) fn proxy_loads(&self) -> impl Iterator<Item = (Workload, usize)> {
        self.workloads.iter().flat_map(|&workload| {
            let connections = match workload.is_scaled() {
                true => &self.proxy_connections,
                false => &self.bulk_connections,
            };
            connections.iter().map(move |&connections| (workload, connections))
        })
    }

    /// Duration of each load in each round, seconds.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64(self.round_s)
    }

    /// The hot set's budget of each instance, enough for all sessions of the plan: each counts as
    /// 1,000 bytes plus its client data.
    pub(crate) fn hot_set_bytes(&self) -> u64 {
        const BYTES: u64 = 1_200;
        BYTES * (self.hot_sessions + 2 * self.sessions) as u64 + (8 << 20)
    }
}

fn is_installed(contender: Contender) -> bool {
    contender.installed_program().is_none_or(|name| local_stack::find_program(name).is_some())
}
