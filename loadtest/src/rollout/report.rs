//! The report: JSON by its `Serialize`, the text by its `Display`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto_contracts::PoolName;
use serde::Serialize;

use crate::output::plots::by_second;

pub use crate::rollout::latency::P99s;
pub use crate::rollout::leases::Leases;
pub use crate::rollout::streams::Streams;

/// How often each operation ran.
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
    /// Wrong instances added and drains repeated, both by mistake.
    pub mistakes: u64,
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

impl Operations {
    /// The counts by their names in the report.
    pub(super) fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("rolling restarts, stateless", self.stateless_rolls),
            ("rolling restarts, stateful", self.stateful_rolls),
            ("scaled 2 → 4 → 2, stateless", self.stateless_scales),
            ("scaled 2 → 4 → 2, stateful", self.stateful_scales),
            ("mistakes", self.mistakes),
            ("configuration reloads", self.reloads),
            ("gateway upgrades", self.upgrades),
        ]
    }
}

/// The result of the load.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    /// Duration of the load, seconds.
    pub duration_s: f64,
    /// Due requests per second.
    pub rate: u32,
    /// Requests that were sent, without those of the streams' clients.
    pub requests: u64,
    /// Requests per second: fewer than due if the system, or this machine, could not keep up.
    pub requests_per_s: f64,
    /// The event streams.
    pub streams: Streams,
    /// Requests that failed, and streams with a gap.
    pub failed: u64,
    /// From the first failure to the last, seconds.
    pub failed_for_s: f64,
    /// Failures by request and error.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Failures in each second since the load began, until the last one.
    pub failed_by_second: Vec<u64>,
}

impl LoadReport {
    pub(super) fn new(
        duration: Duration,
        rate: u32,
        requests: u64,
        streams: Streams,
        failures: Vec<(Duration, String)>,
    ) -> Self {
        let failed_for = failures
            .first()
            .zip(failures.last())
            .map(|((first, _), (last, _))| last.saturating_sub(*first));
        let failed = failures.len() as u64;
        let failed_by_second = by_second(failures.iter().map(|(at, _)| *at));
        let mut failed_by_kind = BTreeMap::new();
        for (_, what) in failures {
            *failed_by_kind.entry(what).or_default() += 1;
        }
        Self {
            duration_s: duration.as_secs_f64(),
            rate,
            requests,
            requests_per_s: requests as f64 / duration.as_secs_f64(),
            streams,
            failed,
            failed_for_s: failed_for.unwrap_or_default().as_secs_f64(),
            failed_by_kind,
            failed_by_second,
        }
    }

    /// Whether nothing failed.
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration_s, rate, requests_per_s, .. } = self;
        writeln!(f, "{duration_s:.1} s, {rate} requests/s due, {requests_per_s:.0} sent\n")
    }

    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "requests", self.requests)?;
        row(f, "streams followed", self.streams.followed)?;
        row(f, "messages received", self.streams.received)?;
        row(f, "times resumed", self.streams.resumed)?;
        row(f, "failed", self.failed)?;
        if self.failed > 0 {
            row(f, "first to last failure", format_args!("{:.1} s", self.failed_for_s))?;
        }
        self.failed_by_kind
            .iter()
            .try_for_each(|(kind, count)| writeln!(f, "failed {kind:<40}{count}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<30}{value}")
}

/// One operation. Times are in seconds since the load began.
#[derive(Debug, Serialize)]
pub struct OperationTime {
    /// What was done.
    pub operation: String,
    /// Its begin.
    pub begin_s: f64,
    /// Its end.
    pub end_s: f64,
}

/// The result of `loadtest rollout`.
#[derive(Debug, Serialize)]
pub struct RolloutReport {
    /// How often each operation ran.
    pub operations: Operations,
    /// Whether stopped stateful instances released their leases.
    pub leases: Leases,
    /// Latencies with and without a restart.
    pub p99s: P99s,
    /// When each operation ran.
    pub timeline: Vec<OperationTime>,
    /// The load during it.
    #[serde(flatten)]
    pub load: LoadReport,
}

impl RolloutReport {
    /// Whether nothing failed and every lease was released. Latencies are reported, but not
    /// checked: the machine may have been busy.
    pub fn is_clean(&self) -> bool {
        self.load.is_clean() && self.leases.are_all_released()
    }
}

impl fmt::Display for RolloutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, leases, p99s, timeline: _, load } = self;
        load.headline(f)?;
        for (name, count) in operations.counts() {
            row(f, name, count)?;
        }
        row(f, "leases released", format_args!("{} of {}", leases.released, leases.stops))?;
        for (name, p99) in [
            ("p99 undisturbed", p99s.quiet_ms),
            ("p99 during stateless restarts", p99s.rolling_stateless_ms),
            ("p99 during stateful restarts", p99s.rolling_stateful_ms),
        ] {
            p99.map_or(Ok(()), |p99| row(f, name, format_args!("{p99:.1} ms")))?;
        }
        p99s.ratio()
            .map_or(Ok(()), |ratio| row(f, "ratio of the p99", format_args!("{ratio:.2}")))?;
        load.counts(f)
    }
}

/// The result of `loadtest during`.
#[derive(Debug, Serialize)]
pub struct DuringReport {
    /// The command, as it was written.
    pub command: String,
    /// Duration of the command, seconds.
    pub command_s: f64,
    /// Its exit status; `None` if a signal ended it.
    pub exit_status: Option<i32>,
    /// The load during it.
    #[serde(flatten)]
    pub load: LoadReport,
}

impl DuringReport {
    /// Whether nothing failed, the command included.
    pub fn is_clean(&self) -> bool {
        self.exit_status == Some(0) && self.load.is_clean()
    }
}

impl fmt::Display for DuringReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.exit_status.map_or_else(
            || "ended by a signal".to_owned(),
            |status| format!("exit status {status}"),
        );
        writeln!(f, "{}\n{status} after {:.1} s\n", self.command, self.command_s)?;
        self.load.headline(f)?;
        self.load.counts(f)
    }
}
