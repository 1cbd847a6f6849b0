//! What to measure, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

pub use super::proxies::contender::Contender;
use crate::cli::BenchArgs;

/// One group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Reads of hot sessions beside stateless calls.
    Reads,
    /// Messages beside what Redis's own benchmark does with the same script.
    Writes,
    /// What hot sessions take, and whether many of them slow reads down.
    Memory,
    /// The gateway beside other proxies.
    Proxies,
}

/// What to measure, and how much of it.
#[derive(Clone, Debug, Serialize)]
pub struct BenchPlan {
    /// Which parts, in this order.
    pub parts: Vec<Part>,
    /// Connections of each load; each carries one request at a time.
    pub connections: usize,
    /// How often each load is repeated, in turn with the others of its part.
    pub rounds: usize,
    /// How long each load lasts in each round.
    pub round_s: f64,
    /// Sessions that are read or written to in turn.
    pub sessions: usize,
    /// Sessions of the part `memory`.
    pub hot_sessions: usize,
    /// Sessions that they are compared with.
    pub few_hot_sessions: usize,
    /// Messages to each of these.
    pub messages: usize,
    /// Who takes part in `proxies`.
    pub proxies: Vec<Contender>,
    /// Another build of the gateway that does.
    pub other_gateway: Option<PathBuf>,
    /// Connections of each load there.
    pub proxy_connections: Vec<usize>,
    /// Threads that each of them has.
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
            proxy_connections: args.proxy_connections.iter().map(|connections| connections.get()).collect(),
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

    /// How long each load lasts in each round.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64(self.round_s)
    }

    /// The budget of each instance, which holds all sessions of the plan: those of the part `memory` count as 1,000 bytes
    /// and their client data each.
    pub(crate) fn hot_set_bytes(&self) -> u64 {
        const BYTES: u64 = 1_200;
        BYTES * (self.hot_sessions + 2 * self.sessions) as u64 + (8 << 20)
    }
}
