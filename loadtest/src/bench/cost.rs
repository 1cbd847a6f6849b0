//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_stack::Stack;

/// Ticks per second of `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Instances of each service.
pub(crate) const INSTANCES: u16 = 2;

/// The measured processes by role.
pub(crate) struct Processes(Vec<(&'static str, Vec<u32>)>);

impl Processes {
    /// Those of the stack, and this process.
    pub(crate) fn of(stack: &Stack) -> Result<Self> {
        let services =
            (1..=INSTANCES).flat_map(|n| [format!("stateless-{n}"), format!("stateful-{n}")]);
        let services = services.map(|name| stack.pid_of(&name)).collect::<Result<_, _>>()?;
        Ok(Self(vec![
            ("gateway", vec![stack.pid_of("gateway")?]),
            ("service", services),
            ("redis", vec![stack.pid_of("redis-sessions")?]),
            ("loadtest", vec![std::process::id()]),
        ]))
    }

    /// Processes by role.
    pub(crate) fn of_groups(groups: Vec<(&'static str, Vec<u32>)>) -> Self {
        Self(groups)
    }

    /// CPU time of each role so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Vec<(&'static str, Duration)>> {
        self.0
            .iter()
            .map(|(name, pids)| {
                Ok((*name, pids.iter().map(|&pid| cpu_of(pid)).sum::<Result<_>>()?))
            })
            .collect()
    }
}

/// By the scheduler's counters of the threads, in nanoseconds. They lack threads that have ended,
/// which the process's ticks of 10 ms include.
fn cpu_of(pid: u32) -> Result<Duration> {
    Ok(ticks_of(pid)?.max(scheduled(pid)))
}

/// How long the threads of a process ran; zero where the kernel has no such counters.
fn scheduled(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ran = threads.filter_map(|thread| {
        let counters = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let ns = counters.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(ns))
    });
    ran.sum()
}

fn ticks_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses may contain any byte; utime and stime are the 12th and 13th field
    // after it.
    let (_, fields) = stat.rsplit_once(')').context("unexpected format of /proc/<pid>/stat")?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 =
        line.trim().trim_end_matches(" kB").parse().context("unexpected format of VmRSS")?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {}
        let used = cpu_of(std::process::id()).expect("it runs");
        assert!(used > Duration::ZERO && used < Duration::from_secs(3600), "{used:?}");
        assert!(resident_bytes(std::process::id()).expect("it runs") > 1 << 20);
    }

    /// A short round may cost a proxy less than a tick.
    #[test]
    fn less_than_a_tick_is_measured() {
        let used = || cpu_of(std::process::id()).expect("it runs");
        let steps = || {
            let before = used();
            while used() == before {}
            used() - before
        };
        assert!((0..100).any(|_| steps() < Duration::from_millis(1000 / TICKS_PER_SECOND)));
    }
}
