//! What `loadtest bench` found: JSON by its `Serialize`, tables by its `Display`.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::plan::BenchPlan;

/// The middle of what the rounds gave, and how far they lay apart.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the rounds gave no more.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one round.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        let last = rounds.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), min: at(0), max: at(last) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let digits = f.precision().unwrap_or(2);
        let (text, width) = (format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"), f.width().unwrap_or(0));
        // Not `pad`, to which a precision means a length.
        write!(f, "{text:>width$}")
    }
}

/// One kind of load over all rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was sent, and where.
    pub name: &'static str,
    /// Requests with a good answer, a second.
    pub rps: Spread,
    /// 99 % took no longer, milliseconds; `null` where it was not measured.
    pub p99_ms: Option<Spread>,
    /// CPU time for each request with a good answer, in microseconds, by process.
    pub cpu_us: Vec<Cpu>,
    /// The share of reads that were answered from memory; `null` where nothing was read from a session.
    pub from_memory: Option<f64>,
    /// Requests without a good answer.
    pub failed: u64,
}

/// CPU time of one kind of process, of all its instances.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// `gateway`, `service`, `redis` (of the sessions), `proxy`, `origins` or `loadtest`.
    pub process: &'static str,
    /// Microseconds for each request.
    pub us: Spread,
}

/// A figure that has to keep a bound.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// What it is.
    pub name: &'static str,
    /// Each round's ratio.
    pub ratio: Spread,
    /// The median must not be beyond it; `null` for what is only told.
    pub bound: Option<Bound>,
}

/// What a figure must keep.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It must be this or more.
    AtLeast(f64),
    /// It must be this or less.
    AtMost(f64),
}

impl Ratio {
    /// Whether the median keeps the bound.
    pub fn is_kept(&self) -> bool {
        match self.bound {
            Some(Bound::AtLeast(bound)) => self.ratio.median >= bound,
            Some(Bound::AtMost(bound)) => self.ratio.median <= bound,
            None => true,
        }
    }
}

/// One part.
#[derive(Debug, Serialize)]
pub struct Section {
    /// What is measured.
    pub title: String,
    /// Its loads, which took turns.
    pub rows: Vec<Row>,
    /// What they come to.
    pub ratios: Vec<Ratio>,
    /// What hot sessions took, in the part `memory`.
    pub memory: Option<Memory>,
}

/// What hot sessions took.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Sessions in the memory of one instance.
    pub hot_sessions: u64,
    /// How long it took to create them and to post the messages, seconds.
    pub created_in_s: f64,
    /// What the instance grew by, in bytes.
    pub grown_bytes: u64,
    /// The same for each session.
    pub bytes_per_session: f64,
    /// What the hot set counts them as, in bytes.
    pub counted_bytes: u64,
    /// `HOT_SET_BYTES`, which that must not exceed.
    pub budget_bytes: u64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// When the run began.
    pub timestamp: Timestamp,
    /// What ran it.
    pub machine: Machine,
    /// What was measured, and how much of it.
    pub plan: BenchPlan,
    /// The parts.
    pub sections: Vec<Section>,
}

/// What a run's figures depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor, as the kernel names it.
    pub processor: String,
    /// How many of its threads we may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The build's profile, by the folder of the binaries.
    pub profile: String,
}

impl BenchReport {
    /// Whether every request had a good answer. Figures beyond their bounds are reported and no failure: a machine may be
    /// busy with something else.
    pub fn is_sound(&self) -> bool {
        self.sections.iter().flat_map(|section| &section.rows).all(|row| row.failed == 0)
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, machine, plan, sections } = self;
        let Machine { processor, cores, kernel, profile } = machine;
        writeln!(f, "{timestamp:.0}, {processor}, {cores} cores, Linux {kernel}, profile {profile}")?;
        let BenchPlan { connections, rounds, round_s, .. } = plan;
        writeln!(f, "{connections} connections, {rounds} rounds of {round_s} s; median (least–most)")?;
        sections.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, rows, ratios, memory } = self;
        writeln!(f, "{title}")?;
        write!(f, "  {:<32}{:>28}{:>24}", "", "requests/s", "p99 ms")?;
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
            writeln!(f, "  {name:<58}{ratio:>24.3}{bound}")?;
        }
        for ratio in ratios.iter().filter(|ratio| !ratio.is_kept()) {
            writeln!(f, "  NOT KEPT: {}", ratio.name)?;
        }
        memory.iter().try_for_each(|memory| write!(f, "{memory}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rps, p99_ms, cpu_us, from_memory, failed } = self;
        let p99 = p99_ms.map(|p99| format!("{p99:.2}")).unwrap_or_default();
        write!(f, "  {name:<32}{rps:>28.0}{p99:>24}")?;
        cpu_us.iter().try_for_each(|cpu| write!(f, "{:>12.1}", cpu.us.median))?;
        let share = from_memory.map(|share| format!("{:.2} %", share * 100.0)).unwrap_or_default();
        writeln!(f, "{share:>13}{failed:>8}")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hot_sessions, created_in_s, grown_bytes, bytes_per_session, counted_bytes, budget_bytes } = self;
        writeln!(f, "  {hot_sessions} hot sessions, created and spoken to in {created_in_s:.1} s")?;
        writeln!(f, "  the instance grew by {grown_bytes} bytes: {bytes_per_session:.0} for each session")?;
        writeln!(f, "  they count as {counted_bytes} bytes of a budget of {budget_bytes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(format!("{:>16.1}", Spread::of([1.0])), "   1.0 (1.0–1.0)");
    }
}
