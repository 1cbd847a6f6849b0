//! The report: JSON by its `Serialize`, the table by its `Display`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::phase::Finished;
use crate::plan::{Kind, Order, Pacing, Phase, Plan, SessionMix};
use crate::recorder::Series;

pub use crate::recorder::Second;

pub(crate) mod page;

/// The result of `loadtest compare`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Start of the run.
    pub timestamp: Timestamp,
    /// The settings of the run.
    pub settings: Settings,
    /// `null` when the kind was left out.
    pub stateless: Option<KindReport>,
    /// `null` when the kind was left out.
    pub stateful: Option<KindReport>,
    /// `null` unless both kinds ran.
    pub comparison: Option<Comparison>,
}

/// The settings of the run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The system under load.
    pub target: String,
    /// How the kinds followed each other.
    pub order: Order,
    /// Duration of each kind, seconds.
    pub duration_s: f64,
    /// Connections of each.
    pub connections: usize,
    /// Timeout of a request, seconds.
    pub timeout_s: f64,
    /// What the stateful clients did.
    pub sessions: SessionMix,
    /// Seed of the stateful clients' choices.
    pub seed: u64,
}

/// One kind of load.
#[derive(Debug, Serialize)]
pub struct KindReport {
    /// All operations together.
    #[serde(flatten)]
    pub total: Measurement,
    /// Due requests per second of an open loop; `null` for a closed one.
    pub target_rate: Option<NonZeroU32>,
    /// From the start until the last response.
    pub elapsed_s: f64,
    /// By operation, for example `create`.
    pub operations: BTreeMap<&'static str, Measurement>,
    /// Responses by instance, if the gateway shows it.
    pub instances: BTreeMap<String, u64>,
    /// Responses by verdict, if the gateway shows it.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Share of the successful reads of sessions that the instance's memory served; `null` without
    /// a read.
    pub reads_from_memory: Option<f64>,
    /// Latencies of all requests, from the fastest to the slowest.
    pub distribution: Vec<Quantile>,
    /// The requests that ended in each second.
    pub seconds: Vec<Second>,
}

/// The latency that a share of the requests did not exceed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantile {
    /// The share, 0 to 1.
    pub quantile: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// The shares of [`KindReport::distribution`].
const QUANTILES: [f64; 20] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
    0.9995, 0.9998, 0.9999, 1.0,
];

/// Counts and latencies. Latencies are in milliseconds and include failed requests; in an open loop
/// they count from the due time.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Failed ones.
    pub errors: u64,
    /// Successful requests per second, from the start until the last response.
    pub rps: f64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Maximum.
    pub max_ms: f64,
    /// Errors by kind: a problem's code, `status_<status>`, `connect`, `broken`, `timeout`,
    /// `unfinished` or `wrong_response`.
    pub errors_by_kind: BTreeMap<String, u64>,
}

/// Both kinds side by side.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Stateless requests per second.
    pub stateless_rps: f64,
    /// Stateful requests per second.
    pub stateful_rps: f64,
    /// The first divided by the second; `null` when no stateful request succeeded.
    pub ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new<'a>(
        plan: &Plan,
        timestamp: Timestamp,
        phases: impl Iterator<Item = (&'a Phase, Finished)>,
    ) -> Self {
        let settings = Settings {
            target: plan.target.url().to_owned(),
            order: plan.order,
            duration_s: plan.duration.as_secs_f64(),
            connections: plan.connections.get(),
            timeout_s: plan.timeout.as_secs_f64(),
            sessions: plan.sessions,
            seed: plan.seed,
        };
        let (mut stateless, mut stateful) = (None, None);
        for (phase, finished) in phases {
            let report = Some(KindReport::new(phase.pacing, &finished));
            match phase.kind {
                Kind::Stateless => stateless = report,
                Kind::Stateful => stateful = report,
            }
        }
        let comparison = stateless.as_ref().zip(stateful.as_ref()).map(|(stateless, stateful)| {
            let (stateless_rps, stateful_rps) = (stateless.total.rps, stateful.total.rps);
            let ratio = (stateful_rps > 0.0).then(|| stateless_rps / stateful_rps);
            Comparison { stateless_rps, stateful_rps, ratio }
        });
        Self { timestamp, settings, stateless, stateful, comparison }
    }

    /// Failed requests of both kinds.
    pub fn errors(&self) -> u64 {
        [&self.stateless, &self.stateful].into_iter().flatten().map(|kind| kind.total.errors).sum()
    }
}

impl KindReport {
    pub(crate) fn new(pacing: Pacing, finished: &Finished) -> Self {
        let mut total = Series::new();
        let mut operations = BTreeMap::new();
        for (operation, series) in &finished.recorder.series {
            total.merge(series);
            operations.insert(operation.as_str(), Measurement::new(series, finished.elapsed));
        }
        let target_rate = match pacing {
            Pacing::ClosedLoop => None,
            Pacing::OpenLoop(rate) => Some(rate),
        };
        let elapsed_s = finished.elapsed.as_secs_f64();
        let serving = &finished.recorder.serving;
        Self {
            total: Measurement::new(&total, finished.elapsed),
            target_rate,
            elapsed_s,
            operations,
            instances: serving.instances.clone(),
            verdicts: serving.verdicts.clone(),
            reads_from_memory: (serving.reads > 0)
                .then(|| serving.reads_from_memory as f64 / serving.reads as f64),
            distribution: QUANTILES
                .map(|quantile| Quantile { quantile, ms: total.quantile_ms(quantile) })
                .to_vec(),
            seconds: finished.recorder.seconds.clone(),
        }
    }
}

impl Measurement {
    fn new(series: &Series, elapsed: Duration) -> Self {
        let (requests, errors) = (series.requests(), series.failed());
        Self {
            requests,
            errors,
            rps: if elapsed.is_zero() {
                0.0
            } else {
                (requests - errors) as f64 / elapsed.as_secs_f64()
            },
            p50_ms: series.quantile_ms(0.5),
            p90_ms: series.quantile_ms(0.9),
            p99_ms: series.quantile_ms(0.99),
            p999_ms: series.quantile_ms(0.999),
            max_ms: series.latencies.max() as f64 / 1000.0,
            errors_by_kind: series
                .errors
                .iter()
                .map(|(kind, &count)| (kind.to_string(), count))
                .collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("stateless", &self.stateless), ("stateful", &self.stateful)];
        let kinds: Vec<_> =
            kinds.into_iter().filter_map(|(name, kind)| Some((name, kind.as_ref()?))).collect();
        table(f, &kinds)?;
        if let Some(ratio) = self.comparison.as_ref().and_then(|comparison| comparison.ratio) {
            writeln!(f, "\nstateless / stateful, requests per second: {ratio:.2}")?;
        }
        Ok(())
    }
}

/// A row for each load and its operations, then their errors.
pub(crate) fn table(f: &mut fmt::Formatter<'_>, kinds: &[(&str, &KindReport)]) -> fmt::Result {
    let columns = ["requests", "errors", "requests/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms"];
    write!(f, "{:<12}", "")?;
    for column in columns {
        write!(f, "{column:>11}")?;
    }
    writeln!(f)?;
    for (name, kind) in kinds {
        kind.total.fmt_row(f, name)?;
        if kind.operations.len() > 1 {
            for (operation, measurement) in &kind.operations {
                measurement.fmt_row(f, &format!("  {operation}"))?;
            }
        }
    }
    for (name, kind) in kinds {
        for (operation, measurement) in &kind.operations {
            for (error, count) in &measurement.errors_by_kind {
                writeln!(f, "{name} {operation}: {count} × {error}")?;
            }
        }
    }
    Ok(())
}

impl Measurement {
    fn fmt_row(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        write!(f, "{name:<12}{:>11}{:>11}{:>11.0}", self.requests, self.errors, self.rps)?;
        for latency in [self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms] {
            write!(f, "{latency:>11.2}")?;
        }
        writeln!(f)
    }
}
