//! `loadtest faults`: what a client sees when a part of the system is killed, hangs, is slow or is
//! full.
//!
//! [`table`] says what it is, and the runbook prints that. Here each fault is caused on a system of
//! its own, `probes` are sent through Nginx, at first and once the system knows of the fault, and
//! what comes back is held against the table.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use local_stack::{Gateways, Stack};
use serde::Serialize;

use crate::faults::args::FaultsArgs;
use inflict::Inflicted;
use probes::{Probes, Seen};
use table::{Case, Request, Sees};

pub mod args;
pub mod case;
pub mod table;

mod inflict;
mod probes;

/// How long the system has to be as before a fault.
const RECOVERY: Duration = Duration::from_secs(60);
/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(250);

/// What a kind of request met in a case.
#[derive(Debug, Serialize)]
pub struct Observed {
    /// To what it was done, and what was done.
    pub case: String,
    /// Which request.
    pub request: &'static str,
    /// Whether the fault had just begun.
    pub at_first: bool,
    /// What came back, each once.
    pub seen: Vec<String>,
    /// How long the slowest took, seconds.
    pub longest_s: f64,
    /// Whether the table has it.
    pub holds: bool,
}

/// What `loadtest faults` found.
#[derive(Debug, Serialize)]
pub struct FaultsReport {
    /// In the order of the table.
    pub observed: Vec<Observed>,
}

impl FaultsReport {
    /// Whether clients saw nothing but what the table says. How long it took is reported and not
    /// judged.
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

/// Causes the faults of the table, or those that are named, one after the other.
///
/// # Errors
/// When a system does not start, a fault cannot be caused, or the system does not recover from it.
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
        let plan = Stack::for_tests().stateless(2).stateful(2).gateways(gateways).with_nginx();
        let stack = plan.start().await.context("the system does not start")?;
        for case in cases {
            let begin = Instant::now();
            let found = try_case(&stack, case).await.with_context(|| case.name())?;
            eprintln!("{} took {:.1} s", case.name(), begin.elapsed().as_secs_f64());
            observed.extend(found);
        }
        stack.shutdown().await;
    }
    Ok(FaultsReport { observed })
}

async fn try_case(stack: &Stack, case: &Case) -> Result<Vec<Observed>> {
    let probes = Probes::prepare(stack, case.part).await?;
    let inflicted = Inflicted::begin(stack, case).await?;
    let at_first = probes.send().await;
    tokio::time::sleep(case.known_after).await;
    let then = probes.send().await;
    inflicted.end(stack).await?;
    recover(&probes).await?;
    let sees = |request, at_first| {
        case.sees(request).map(|row| if at_first { row.at_first } else { row.then })
    };
    let mut observed = Vec::new();
    for (seen, first) in [(at_first, true), (then, false)] {
        for (request, seen) in seen {
            let Some(sees) = sees(request, first) else { continue };
            observed.push(judge(case, request, first, &seen, sees));
        }
    }
    Ok(observed)
}

fn judge(case: &Case, request: Request, at_first: bool, seen: &[Seen], sees: Sees) -> Observed {
    let longest = seen.iter().map(|seen| seen.took).max().unwrap_or_default();
    let holds = seen.iter().all(|seen| sees.outcomes.contains(&seen.outcome));
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
