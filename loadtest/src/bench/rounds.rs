//! Rounds of a load, and the cost of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cost::Processes;
use super::drive::Driven;
use super::report::{Cpu, Row, Spread};
use crate::client::Response;
use crate::recorder::Recorder;
use crate::scenario::Operation;

/// One load in one round.
pub(crate) struct Round {
    pub(crate) rps: f64,
    pub(crate) p99_ms: Option<f64>,
    /// Per successful request, microseconds.
    cpu_us: Vec<(&'static str, f64)>,
    from_memory: Option<u64>,
    good: u64,
    failed: u64,
}

impl Round {
    /// Measures the load.
    pub(crate) async fn measure(
        processes: &Processes,
        load: impl Future<Output = Result<Done>>,
    ) -> Result<Self> {
        let before = processes.cpu()?;
        let Done { good, failed, elapsed, p99_ms, from_memory } = load.await?;
        // Of children that have ended the kernel counts whole ticks, so a sum may even fall.
        let used = before
            .into_iter()
            .zip(processes.cpu()?)
            .map(|((name, before), (_, after))| (name, after.saturating_sub(before)));
        let for_each = |used: Duration| used.as_secs_f64() * 1e6 / good as f64;
        Ok(Self {
            rps: good as f64 / elapsed.as_secs_f64(),
            p99_ms,
            cpu_us: used.map(|(name, used)| (name, for_each(used))).collect(),
            from_memory,
            good,
            failed,
        })
    }

    /// CPU time of this role per successful request, microseconds.
    pub(crate) fn cpu_of(&self, process: &str) -> f64 {
        self.cpu_us.iter().find(|(name, _)| *name == process).map_or(f64::NAN, |(_, us)| *us)
    }
}

/// The load of a round.
pub(crate) struct Done {
    pub(crate) good: u64,
    pub(crate) failed: u64,
    pub(crate) elapsed: Duration,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) from_memory: Option<u64>,
}

impl From<Driven> for Done {
    fn from(driven: Driven) -> Self {
        let p99_ms = Some(driven.p99_ms());
        let Driven { good, failed, elapsed, .. } = driven;
        Self { good, failed, elapsed, p99_ms, from_memory: None }
    }
}

impl Done {
    /// The requests of an open loop that began at `start`, all counted as `info`.
    ///
    /// # Errors
    /// When no request was sent.
    pub(crate) fn of_open_loop(recorder: &Recorder, start: Instant) -> Result<Self> {
        let series = recorder.series.get(&Operation::Info).context("no request was sent")?;
        let failed = series.failed();
        Ok(Self {
            good: series.requests() - failed,
            failed,
            elapsed: recorder.last_end - start,
            p99_ms: Some(series.latencies.value_at_quantile(0.99) as f64 / 1000.0),
            from_memory: None,
        })
    }
}

/// The report's row of a load.
pub(crate) fn row(name: impl Into<String>, rounds: &[Round]) -> Row {
    let p99: Option<Vec<f64>> = rounds.iter().map(|round| round.p99_ms).collect();
    let from_memory: Option<u64> = rounds.iter().map(|round| round.from_memory).sum();
    let good: u64 = rounds.iter().map(|round| round.good).sum();
    let processes = rounds
        .first()
        .map(|round| &*round.cpu_us)
        .unwrap_or_default()
        .iter()
        .map(|(name, _)| *name);
    Row {
        name: name.into(),
        rps: Spread::of(rounds.iter().map(|round| round.rps)),
        p99_ms: p99.map(Spread::of),
        cpu_us: processes
            .map(|process| Cpu {
                process,
                us: Spread::of(rounds.iter().map(|round| round.cpu_of(process))),
            })
            .collect(),
        from_memory: from_memory.map(|from_memory| from_memory as f64 / good as f64),
        failed: rounds.iter().map(|round| round.failed).sum(),
    }
}

/// The ratio of a figure of two loads, round by round.
pub(crate) fn ratio(of: &[Round], to: &[Round], figure: impl Fn(&Round) -> f64) -> Spread {
    Spread::of(of.iter().zip(to).map(|(of, to)| figure(of) / figure(to)))
}

/// Counts the responses from an instance's memory.
#[derive(Clone, Default)]
pub(crate) struct FromMemory(Arc<AtomicU64>);

impl FromMemory {
    pub(crate) fn see(&self, response: &Response) {
        if response.is_from_memory() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
