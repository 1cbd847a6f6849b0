//! CPU time and memory of processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use local_stack::Stack;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Ticks per second of `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Instances of each service.
pub(crate) const INSTANCES: u16 = 2;

/// The measured processes by role.
pub(crate) struct Processes(Vec<(&'static str, Vec<Costed>)>);

/// A process whose cost is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Costed {
    /// It alone.
    Alone(u32),
    /// It and its children, those that have ended included.
    WithChildren(u32),
}

impl Processes {
    /// Those of the stack, and this process.
    pub(crate) fn of(stack: &Stack) -> Result<Self> {
        let services =
            (1..=INSTANCES).flat_map(|n| [format!("stateless-{n}"), format!("stateful-{n}")]);
        let services: Vec<_> =
            services.map(|name| stack.pid_of(&name)).collect::<Result<_, _>>()?;
        Ok(Self(vec![
            ("gateway", Costed::alone([stack.pid_of("gateway")?])),
            ("service", Costed::alone(services)),
            ("redis", Costed::alone([stack.pid_of("redis-sessions")?])),
            ("loadtest", Costed::alone([std::process::id()])),
        ]))
    }

    /// Processes by role.
    pub(crate) fn of_groups(groups: Vec<(&'static str, Vec<Costed>)>) -> Self {
        Self(groups)
    }

    /// CPU time of each role so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Vec<(&'static str, Duration)>> {
        self.0
            .iter()
            .map(|(name, processes)| {
                Ok((*name, processes.iter().map(Costed::cpu).sum::<Result<_>>()?))
            })
            .collect()
    }
}

impl Costed {
    /// These processes, without their children.
    pub(crate) fn alone(pids: impl IntoIterator<Item = u32>) -> Vec<Self> {
        pids.into_iter().map(Self::Alone).collect()
    }

    fn cpu(&self) -> Result<Duration> {
        match *self {
            Self::Alone(pid) => cpu_of(pid),
            Self::WithChildren(pid) => cpu_with_children(pid),
        }
    }
}

/// A child's time becomes its parent's when it has ended, so it is read while no child ends.
fn cpu_with_children(pid: u32) -> Result<Duration> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let (ended, children) = (cpu_of_ended_children(pid)?, children_of(pid));
        let all: Result<Duration> = children.iter().map(|&child| cpu_of(child)).sum();
        if let Ok(all) = all
            && cpu_of_ended_children(pid)? == ended
            && children_of(pid) == children
        {
            return Ok(cpu_of(pid)? + ended + all);
        }
    }
    bail!("the children of process {pid} change too fast")
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// By its CPU clock, which includes threads that have ended.
fn cpu_of(pid: u32) -> Result<Duration> {
    let time = clock_getcpuclockid(Pid::from_raw(pid.try_into()?)).and_then(ClockId::now);
    Ok(time.with_context(|| format!("process {pid} is gone"))?.into())
}

/// CPU time of children that have ended, in whole ticks.
fn cpu_of_ended_children(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses may contain any byte; cutime and cstime are the 14th and 15th field
    // after it.
    let (_, fields) = stat.rsplit_once(')').context("unexpected format of /proc/<pid>/stat")?;
    let fields = fields.split_ascii_whitespace().skip(13).map(str::parse::<u64>);
    let fields: Vec<_> = fields.take(2).map_while(Result::ok).collect();
    let [user, system] = fields[..] else { bail!("unexpected format of /proc/<pid>/stat") };
    Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
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

    #[test]
    fn the_time_of_a_thread_that_has_ended_still_counts() {
        let used = || cpu_of(std::process::id()).expect("it runs");
        let before = used();
        let ran = std::thread::spawn(move || {
            while used() - before < Duration::from_millis(5) {}
            used()
        });
        let ran = ran.join().expect("it ends");
        assert!(used() >= ran);
    }

    #[test]
    fn the_time_of_a_child_that_has_ended_is_its_parents() {
        let mut shell = std::process::Command::new("bash")
            .args(["-c", "n=0; (while ((n < 200000)); do ((n += 1)); done); echo; read -r"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("bash");
        let mut line = [0];
        let mut output = shell.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut output, &mut line).expect("its child has ended");
        let alone = Costed::Alone(shell.id()).cpu().expect("it runs");
        let with_children = Costed::WithChildren(shell.id()).cpu().expect("it runs");
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
        assert!(with_children > alone, "{alone:?}, {with_children:?}");
    }
}
