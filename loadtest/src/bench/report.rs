//! The report: JSON by its `Serialize`, tables by its `Display`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::BenchPlan;
use super::workload::Workload;

/// Median and range over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// The spread of at least one round.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        let last = rounds.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            min: at(0),
            max: at(last),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let digits = f.precision().unwrap_or(2);
        let (text, width) =
            (format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"), f.width().unwrap_or(0));
        // Not `pad`, which would apply the precision as a length.
        write!(f, "{text:>width$}")
    }
}

/// One kind of load over all rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The load's name.
    pub name: String,
    /// Successful requests per second.
    pub rps: Spread,
    /// 99th percentile, milliseconds; `null` if not measured.
    pub p99_ms: Option<Spread>,
    /// CPU time per successful request, microseconds, by process.
    pub cpu_us: Vec<Cpu>,
    /// Share of reads served from memory; `null` without reads of sessions.
    pub from_memory: Option<f64>,
    /// Failed requests.
    pub failed: u64,
}

/// CPU time of all processes of one role.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// `gateway`, `service`, `redis` (of the sessions), `proxy`, `edge` (the Nginx in front of it),
    /// `postgres`, `origins` or `loadtest`.
    pub process: &'static str,
    /// Microseconds per request.
    pub us: Spread,
}

/// A figure with a bound.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// Its name.
    pub name: String,
    /// Each round's ratio.
    pub ratio: Spread,
    /// The bound of the median; `null` for none.
    pub bound: Option<Bound>,
}

/// The bound of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Lower bound.
    AtLeast(f64),
    /// Upper bound.
    AtMost(f64),
}

impl Ratio {
    /// Whether the median is within the bound.
    pub fn is_kept(&self) -> bool {
        match self.bound {
            Some(Bound::AtLeast(bound)) => self.ratio.median >= bound,
            Some(Bound::AtMost(bound)) => self.ratio.median <= bound,
            None => true,
        }
    }
}

/// The result of one part.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// The title.
    pub title: String,
    /// Its loads.
    pub rows: Vec<Row>,
    /// Ratios of the loads.
    pub ratios: Vec<Ratio>,
    /// The first wrong response of each proxy that sent any.
    pub errors: Vec<String>,
    /// Memory of hot sessions, in the part `memory`.
    pub memory: Option<Memory>,
    /// The compared load, in the part `proxies`.
    pub load: Option<Load>,
    /// Idle clients of each proxy, in the part `idle`.
    pub idle: Vec<IdleClients>,
}

/// A load of the part `proxies`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// The kind of requests.
    pub workload: Workload,
    /// Connections, with one request at a time on each.
    pub connections: usize,
    /// Threads of each proxy.
    pub threads: usize,
}

/// Idle clients of a proxy, each of which has sent a request before.
#[derive(Debug, Serialize)]
pub struct IdleClients {
    /// The proxy.
    pub name: &'static str,
    /// Their number.
    pub clients: usize,
    /// Resident memory of the proxy without clients, bytes.
    pub resident_bytes: u64,
    /// Growth of its resident memory per client, bytes.
    pub bytes_per_client: f64,
}

/// Memory of hot sessions.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Sessions in the memory of one instance.
    pub hot_sessions: u64,
    /// Time to create them and to post the messages, seconds.
    pub created_in_s: f64,
    /// Growth of the instance's resident memory, bytes.
    pub grown_bytes: u64,
    /// Growth per session, bytes.
    pub bytes_per_session: f64,
    /// Their size by the hot set's accounting, bytes.
    pub counted_bytes: u64,
    /// `HOT_SET_BYTES`, the limit of `counted_bytes`.
    pub budget_bytes: u64,
}

/// The result of `loadtest bench`.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// Start of the run.
    pub timestamp: Timestamp,
    /// The machine.
    pub machine: Machine,
    /// The plan.
    pub plan: BenchPlan,
    /// The parts.
    pub sections: Vec<Section>,
}

/// The machine and build, on which figures depend.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as the kernel names it.
    pub processor: String,
    /// Available hardware threads.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The build's profile, by the folder of the binaries.
    pub profile: String,
}

impl BenchReport {
    /// Whether every request succeeded. Figures outside their bounds are no failure: the machine
    /// may be busy.
    pub fn is_sound(&self) -> bool {
        self.sections.iter().flat_map(|section| &section.rows).all(|row| row.failed == 0)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, profile } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}, profile {profile}")
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, machine, plan, sections } = self;
        writeln!(f, "{timestamp:.0}, {machine}")?;
        for contender in &plan.not_installed {
            writeln!(f, "{contender} is not installed and was left out")?;
        }
        let BenchPlan { connections, rounds, round_s, .. } = plan;
        writeln!(f, "{connections} connections, {rounds} rounds of {round_s} s; median (min–max)")?;
        sections.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, rows, ratios, errors, memory, load: _, idle } = self;
        writeln!(f, "{title}")?;
        write!(f, "  {:<42}{:>28}{:>24}", "", "requests/s", "p99 ms")?;
        for Cpu { process, .. } in rows.first().map(|row| &*row.cpu_us).unwrap_or_default() {
            write!(f, "{:>13}", format!("{process} µs"))?;
        }
        writeln!(f, "{:>13}{:>8}", "from memory", "failed")?;
        rows.iter().try_for_each(|row| write!(f, "{row}"))?;
        for Ratio { name, ratio, bound } in ratios {
            let bound = match bound {
                Some(Bound::AtLeast(bound)) => format!("  ≥ {bound}"),
                Some(Bound::AtMost(bound)) => format!("  ≤ {bound}"),
                None => String::new(),
            };
            writeln!(f, "  {name:<68}{ratio:>24.3}{bound}")?;
        }
        for ratio in ratios.iter().filter(|ratio| !ratio.is_kept()) {
            writeln!(f, "  OUT OF BOUNDS: {}", ratio.name)?;
        }
        for error in errors {
            writeln!(f, "  WRONG RESPONSE of {error}")?;
        }
        memory.iter().try_for_each(|memory| write!(f, "{memory}"))?;
        idle.iter().try_for_each(|idle| write!(f, "{idle}"))
    }
}

impl fmt::Display for IdleClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, clients, resident_bytes, bytes_per_client } = self;
        let mib = *resident_bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "  {name:<40}{clients} idle clients: {bytes_per_client:.0} bytes each, {mib:.1} MiB \
             without them"
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rps, p99_ms, cpu_us, from_memory, failed } = self;
        let p99 = p99_ms.map(|p99| format!("{p99:.2}")).unwrap_or_default();
        write!(f, "  {name:<42}{rps:>28.0}{p99:>24}")?;
        cpu_us.iter().try_for_each(|cpu| write!(f, "{:>12.1}", cpu.us.median))?;
        let share = from_memory.map(|share| format!("{:.2} %", share * 100.0)).unwrap_or_default();
        writeln!(f, "{share:>13}{failed:>8}")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hot_sessions,
            created_in_s,
            grown_bytes,
            bytes_per_session,
            counted_bytes,
            budget_bytes,
        } = self;
        writeln!(
            f,
            "  {hot_sessions} hot sessions, created and written to in {created_in_s:.1} s"
        )?;
        writeln!(
            f,
            "  the instance grew by {grown_bytes} bytes: {bytes_per_session:.0} per session"
        )?;
        writeln!(f, "  they count as {counted_bytes} bytes of a budget of {budget_bytes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_median_and_range() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(format!("{:>16.1}", Spread::of([1.0])), "   1.0 (1.0–1.0)");
    }
}
