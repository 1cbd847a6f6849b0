//! The report: JSON by its `Serialize`, the text by its `Display`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto_contracts::PoolName;
use serde::Serialize;

use crate::cli::RolloutArgs;
use crate::rollout::load::Failures;
pub use crate::rollout::streams::Streams;

/// How often each operation was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Operations {
    /// Restarts of every stateless instance in turn.
    pub stateless_rolls: u64,
    /// Restarts of every stateful instance in turn.
    pub stateful_rolls: u64,
    /// The stateless pool from two to four and back.
    pub stateless_scales: u64,
    /// The stateful pool from two to four and back.
    pub stateful_scales: u64,
    /// Reloads of the gateway's configuration.
    pub reloads: u64,
    /// Upgrades of the gateway.
    pub upgrades: u64,
}

impl Operations {
    pub(super) fn rolls_of(&mut self, pool: PoolName) -> &mut u64 {
        match pool {
            PoolName::Stateless => &mut self.stateless_rolls,
            PoolName::Stateful => &mut self.stateful_rolls,
        }
    }

    pub(super) fn scales_of(&mut self, pool: PoolName) -> &mut u64 {
        match pool {
            PoolName::Stateless => &mut self.stateless_scales,
            PoolName::Stateful => &mut self.stateful_scales,
        }
    }
}

/// What `loadtest rollout` found.
#[derive(Debug, Serialize)]
pub struct RolloutReport {
    /// How long it took, seconds.
    pub duration_s: f64,
    /// How many requests were due in a second.
    pub rate: u32,
    /// How often each operation was done.
    pub operations: Operations,
    /// Requests that were sent, those of the streams' clients not counted.
    pub requests: u64,
    /// How many of them there were in a second: fewer than were due where the system, or this machine, could not keep up.
    pub requests_per_s: f64,
    /// What came of the streams.
    pub streams: Streams,
    /// Requests that failed, and streams with a gap.
    pub failed: u64,
    /// The same by what failed and how.
    pub failed_by_kind: BTreeMap<String, u64>,
}

impl RolloutReport {
    pub(super) fn new(
        args: &RolloutArgs,
        duration: Duration,
        operations: Operations,
        requests: u64,
        streams: Streams,
        failures: &Failures,
    ) -> Self {
        let failures = failures.all();
        let mut failed_by_kind = BTreeMap::new();
        for (_, what) in &failures {
            *failed_by_kind.entry(what.clone()).or_default() += 1;
        }
        Self {
            duration_s: duration.as_secs_f64(),
            rate: args.rate.get(),
            operations,
            requests,
            requests_per_s: requests as f64 / duration.as_secs_f64(),
            streams,
            failed: failures.len() as u64,
            failed_by_kind,
        }
    }

    /// Whether nothing failed.
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for RolloutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, streams, .. } = self;
        let Self { duration_s, rate, requests_per_s, .. } = self;
        writeln!(f, "{duration_s:.1} s, {rate} requests/s were due, {requests_per_s:.0} were sent\n")?;
        for (name, count) in [
            ("rolling restarts, stateless", operations.stateless_rolls),
            ("rolling restarts, stateful", operations.stateful_rolls),
            ("scaled 2 → 4 → 2, stateless", operations.stateless_scales),
            ("scaled 2 → 4 → 2, stateful", operations.stateful_scales),
            ("configuration reloads", operations.reloads),
            ("gateway upgrades", operations.upgrades),
            ("requests", self.requests),
            ("streams followed", streams.followed),
            ("messages heard in them", streams.heard),
            ("times resumed", streams.resumed),
            ("failed", self.failed),
        ] {
            writeln!(f, "{name:<30}{count}")?;
        }
        self.failed_by_kind.iter().try_for_each(|(kind, count)| writeln!(f, "failed {kind:<40}{count}"))
    }
}
