//! The report: JSON by its `Serialize`, the text by its `Display`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto_contracts::PoolName;
use serde::Serialize;

pub use crate::rollout::latency::P99s;
pub use crate::rollout::leases::Leases;
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

/// What came of the load.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    /// How long it took, seconds.
    pub duration_s: f64,
    /// How many requests were due in a second.
    pub rate: u32,
    /// Requests that were sent, those of the streams' clients not counted.
    pub requests: u64,
    /// How many of them there were in a second: fewer than were due where the system, or this
    /// machine, could not keep up.
    pub requests_per_s: f64,
    /// What came of the streams.
    pub streams: Streams,
    /// Requests that failed, and streams with a gap.
    pub failed: u64,
    /// From the first failure to the last, seconds.
    pub failed_for_s: f64,
    /// The same by what failed and how.
    pub failed_by_kind: BTreeMap<String, u64>,
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
        }
    }

    /// Whether nothing failed.
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration_s, rate, requests_per_s, .. } = self;
        writeln!(
            f,
            "{duration_s:.1} s, {rate} requests/s were due, {requests_per_s:.0} were sent\n"
        )
    }

    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "requests", self.requests)?;
        row(f, "streams followed", self.streams.followed)?;
        row(f, "messages heard in them", self.streams.heard)?;
        row(f, "times resumed", self.streams.resumed)?;
        row(f, "failed", self.failed)?;
        if self.failed > 0 {
            row(f, "from the first to the last", format_args!("{:.1} s", self.failed_for_s))?;
        }
        self.failed_by_kind
            .iter()
            .try_for_each(|(kind, count)| writeln!(f, "failed {kind:<40}{count}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<30}{value}")
}

/// What `loadtest rollout` found.
#[derive(Debug, Serialize)]
pub struct RolloutReport {
    /// How often each operation was done.
    pub operations: Operations,
    /// Whether stateful instances that were stopped gave their leases back.
    pub leases: Leases,
    /// How long requests took, with and without a restart.
    pub p99s: P99s,
    /// What came of the load meanwhile.
    #[serde(flatten)]
    pub load: LoadReport,
}

impl RolloutReport {
    /// Whether nothing failed and every lease was released. A latency is reported, and is no
    /// failure: the machine may have been busy.
    pub fn is_clean(&self) -> bool {
        self.load.is_clean() && self.leases.are_all_given_back()
    }
}

impl fmt::Display for RolloutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, leases, p99s, load } = self;
        load.headline(f)?;
        for (name, count) in [
            ("rolling restarts, stateless", operations.stateless_rolls),
            ("rolling restarts, stateful", operations.stateful_rolls),
            ("scaled 2 → 4 → 2, stateless", operations.stateless_scales),
            ("scaled 2 → 4 → 2, stateful", operations.stateful_scales),
            ("mistakes", operations.mistakes),
            ("configuration reloads", operations.reloads),
            ("gateway upgrades", operations.upgrades),
        ] {
            row(f, name, count)?;
        }
        row(f, "leases given back", format_args!("{} of {}", leases.given_back, leases.stops))?;
        for (name, p99) in [
            ("p99 while nothing is done", p99s.quiet_ms),
            ("p99 while stateless roll", p99s.rolling_stateless_ms),
            ("p99 while stateful roll", p99s.rolling_stateful_ms),
        ] {
            p99.map_or(Ok(()), |p99| row(f, name, format_args!("{p99:.1} ms")))?;
        }
        p99s.ratio().map_or(Ok(()), |ratio| {
            row(f, "the longest over the quiet", format_args!("{ratio:.2}"))
        })?;
        load.counts(f)
    }
}

/// What `loadtest during` found.
#[derive(Debug, Serialize)]
pub struct DuringReport {
    /// The command, as it was written.
    pub command: String,
    /// How long it took, seconds.
    pub command_s: f64,
    /// Its exit status; none when a signal ended it.
    pub exit_status: Option<i32>,
    /// What came of the load.
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
