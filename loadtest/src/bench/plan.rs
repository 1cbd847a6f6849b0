//! The plan of `loadtest bench`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::{BenchArgs, Part};
use super::contender::Contender;

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
    /// Proxies of the part `proxies`.
    pub proxies: Vec<Contender>,
    /// Another build of the gateway to compare with.
    pub other_gateway: Option<PathBuf>,
    /// Connections of each load of the part `proxies`.
    pub proxy_connections: Vec<usize>,
    /// Threads of each proxy.
    pub threads: usize,
}

impl BenchPlan {
    /// The plan of a command line.
    pub fn from_args(args: &BenchArgs) -> Self {
        let full = Self {
            parts: args.parts.clone(),
            connections: args.connections.get(),
            rounds: args.rounds.get(),
            round_s: 3.0,
            sessions: 10_000,
            hot_sessions: args.hot_sessions.get(),
            few_hot_sessions: 1_000,
            messages: 10,
            proxies: args.proxies.clone(),
            other_gateway: args.other_gateway.clone(),
            proxy_connections: args
                .proxy_connections
                .iter()
                .map(|connections| connections.get())
                .collect(),
            threads: args.threads.get(),
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
            ..full
        }
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
