//! The parts of a report that the documentation shows.

use std::path::PathBuf;

use serde::Deserialize;

use crate::bench::report::Machine;

/// A run of `loadtest bench`.
#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) timestamp: String,
    pub(super) machine: Machine,
    pub(super) plan: Plan,
    sections: Vec<Section>,
}

#[derive(Deserialize)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) round_s: f64,
    pub(super) idle_rate: u32,
    pub(super) other_gateway: Option<PathBuf>,
}

#[derive(Deserialize)]
pub(super) struct Section {
    pub(super) load: Option<Load>,
    pub(super) rows: Vec<Row>,
    pub(super) ratios: Vec<Ratio>,
    pub(super) idle: Vec<IdleClients>,
}

#[derive(Clone, Deserialize, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) workload: String,
    pub(super) connections: usize,
    pub(super) threads: usize,
}

#[derive(Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) rps: Spread,
    pub(super) p99_ms: Option<Spread>,
    pub(super) cpu_us: Vec<Cpu>,
}

#[derive(Deserialize)]
pub(super) struct Cpu {
    pub(super) process: String,
    pub(super) us: Spread,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

#[derive(Deserialize)]
pub(super) struct Ratio {
    pub(super) name: String,
    pub(super) ratio: Spread,
}

#[derive(Deserialize)]
pub(super) struct IdleClients {
    pub(super) name: String,
    pub(super) clients: usize,
    pub(super) resident_bytes: u64,
    pub(super) bytes_per_client: f64,
}

impl Run {
    pub(super) fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// The sections of the part `proxies`.
    pub(super) fn loads(&self) -> impl Iterator<Item = (&Load, &Section)> {
        self.sections.iter().filter_map(|section| Some((section.load.as_ref()?, section)))
    }

    /// The sections of the part `idle`.
    pub(super) fn idle(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.idle.is_empty())
    }
}

impl Row {
    /// Median CPU time per request of these processes, microseconds.
    pub(super) fn cpu_of(&self, processes: &[&str]) -> Option<Spread> {
        let cpu = self.cpu_us.iter().filter(|cpu| processes.contains(&&*cpu.process));
        cpu.map(|cpu| cpu.us).reduce(|left, right| Spread {
            median: left.median + right.median,
            min: left.min + right.min,
            max: left.max + right.max,
        })
    }
}
