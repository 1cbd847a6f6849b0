//! `loadtest faults`: what a client sees when a part of the system is killed, hangs, is slow or is
//! full.
//!
//! [`table`] lists the expected outcomes; the runbook contains it. Each fault is injected into a
//! system that this command starts. `probes` are sent through Nginx right after the fault begins
//! and again once the system has detected it. Their outcomes are compared with the table.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use local_stack::{Gateways, SmallDisk, Stack};
use serde::Serialize;

use crate::faults::args::FaultsArgs;
use inject::{ActiveFault, FilesDisk};
use probes::{Probes, Seen};
use table::{Case, Expected, Request};

pub mod args;
pub mod case;
pub mod markdown;
pub mod table;

mod inject;
mod owner;
mod probes;

/// Limit for the recovery from a fault.
const RECOVERY: Duration = Duration::from_secs(60);
/// Interval of checks for recovery.
const PAUSE: Duration = Duration::from_millis(250);

/// The outcomes of one kind of request in one case.
#[derive(Debug, Serialize)]
pub struct Observed {
    /// The part and the fault.
    pub case: String,
    /// The kind of request.
    pub request: &'static str,
    /// Whether the fault had just begun.
    pub at_first: bool,
    /// The distinct outcomes.
    pub seen: Vec<String>,
    /// Time of the slowest request, seconds.
    pub longest_s: f64,
    /// Whether the table lists all of them.
    pub holds: bool,
}

/// The result of `loadtest faults`.
#[derive(Debug, Serialize)]
pub struct FaultsReport {
    /// In the order of the table.
    pub observed: Vec<Observed>,
}

impl FaultsReport {
    /// Whether clients saw only what the table lists. Times are reported, but not checked.
    pub fn holds(&self) -> bool {
        self.observed.iter().all(|observed| observed.holds)
    }
}

impl fmt::Display for FaultsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Observed { case, request, at_first, seen, longest_s, holds } in &self.observed {
            let when = if *at_first { "at first" } else { "then" };
            let verdict = if *holds { "" } else { "  NOT IN THE TABLE" };
            writeln!(
                f,
                "{case:<36}{request:<26}{when:<10}{longest_s:>6.1} s  {}{verdict}",
                seen.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Injects all faults of the table, or those of `--only`, one after the other.
///
/// # Errors
/// When a system does not start, a fault cannot be injected, or the system does not recover.
pub async fn faults(args: &FaultsArgs) -> Result<FaultsReport> {
    let mut observed = Vec::new();
    for gateways in [Gateways::One, Gateways::Two] {
        let cases: Vec<_> = table::CASES
            .iter()
            .filter(|case| {
                case.needs() == gateways
                    && (args.only.is_empty() || args.only.contains(&case.name()))
            })
            .collect();
        if cases.is_empty() {
            continue;
        }
        let disk = match SmallDisk::may_mount() && cases.iter().any(|case| case.needs_disk()) {
            true => Some(FilesDisk::mount()?),
            false => None,
        };
        let plan = Stack::for_tests().stateless(2).stateful(2).gateways(gateways).with_nginx();
        let plan = match &disk {
            None => plan,
            Some(disk) => {
                plan.env("stateless-svc", "FILES_URL", format!("file://{}", disk.files().display()))
            }
        };
        let stack = plan.start().await.context("the system does not start")?;
        for case in cases {
            let begin = Instant::now();
            if case.needs_disk() && disk.is_none() {
                eprintln!("{} is left out: only root may mount a disk", case.name());
                continue;
            }
            let found = try_case(&stack, disk.as_ref(), case).await.with_context(|| case.name())?;
            eprintln!("{} took {:.1} s", case.name(), begin.elapsed().as_secs_f64());
            observed.extend(found);
        }
        stack.shutdown().await;
    }
    Ok(FaultsReport { observed })
}

async fn try_case(stack: &Stack, disk: Option<&FilesDisk>, case: &Case) -> Result<Vec<Observed>> {
    let probes = Probes::prepare(stack, case.part).await?;
    let active = ActiveFault::inject(stack, disk, case).await?;
    let at_first = probes.send().await;
    tokio::time::sleep(case.detected_after).await;
    let then = probes.send().await;
    active.end(stack, disk).await?;
    recover(&probes).await?;
    let expected = |request, at_first| {
        case.row(request).map(|row| if at_first { row.at_first } else { row.then })
    };
    let mut observed = Vec::new();
    for (seen, first) in [(at_first, true), (then, false)] {
        for (request, seen) in seen {
            let Some(expected) = expected(request, first) else { continue };
            observed.push(compare(case, request, first, &seen, expected));
        }
    }
    Ok(observed)
}

fn compare(
    case: &Case,
    request: Request,
    at_first: bool,
    seen: &[Seen],
    expected: Expected,
) -> Observed {
    let longest = seen.iter().map(|seen| seen.took).max().unwrap_or_default();
    let holds = seen.iter().all(|seen| expected.outcomes.contains(&seen.outcome));
    let mut texts: Vec<String> = seen.iter().map(|seen| seen.outcome.to_string()).collect();
    texts.sort_unstable();
    texts.dedup();
    let longest_s = longest.as_secs_f64();
    Observed { case: case.name(), request: request.name(), at_first, seen: texts, longest_s, holds }
}

/// Waits until every request is served again.
async fn recover(probes: &Probes) -> Result<()> {
    let begin = Instant::now();
    loop {
        let seen = probes.send().await;
        if seen.iter().flat_map(|(_, seen)| seen).all(|seen| seen.outcome == table::Outcome::Served)
        {
            return Ok(());
        }
        anyhow::ensure!(begin.elapsed() < RECOVERY, "the system does not recover: {seen:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
