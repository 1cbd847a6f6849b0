//! `loadtest bench`: CPU, memory and throughput, compared with baselines.
//!
//! [`plan`] is what to measure. Each part starts its own stack (`env`). The loads of a part
//! alternate (`rounds`), so that other activity of the machine affects all of them. CPU times come
//! from the kernel (`cost`). The parts are `reads`, `tokens`, `writes`, `memory`, `board`,
//! `proxies`, `tls` and `idle`; `proxies` and `idle` compare the gateway with other proxies. [`report`]
//! is the result, and [`figures`] writes it into the documentation.
//!
//! **Invariant:** every figure was measured in the run that reports it.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use local_stack::{Builds, Stack, Store};

use args::Part;
use cost::{INSTANCES, Processes};
use env::BenchEnv;
use plan::BenchPlan;
use report::{BenchReport, Machine};

pub mod args;
pub mod contender;
pub mod figures;
pub mod plan;
pub mod report;
pub mod workload;

mod board;
mod cost;
mod descriptors;
mod drive;
mod env;
mod memory;
mod page;
mod proxies;
mod reads;
mod redis_benchmark;
mod rounds;
mod sessions;
mod tls;
mod tokens;
mod writes;

/// Runs the plan and reports on it.
///
/// # Errors
/// When the system does not start, or something cannot be measured. Failed requests are in the
/// report.
pub async fn bench(plan: &BenchPlan) -> Result<BenchReport> {
    let timestamp = Timestamp::now();
    let machine = machine()?;
    let mut sections = Vec::new();
    for part in &plan.parts {
        match part {
            Part::Reads => sections.push(on_a_stack(plan, reads::measure).await?),
            Part::Tokens => sections.push(on_a_stack(plan, tokens::measure).await?),
            Part::Writes => sections.push(on_a_stack(plan, writes::measure).await?),
            Part::Memory => sections.push(on_a_stack(plan, memory::measure).await?),
            Part::Proxies => sections.extend(proxies::measure(plan).await?),
            Part::Board => sections.push(on_a_stack(plan, board::measure).await?),
            Part::Tls => sections.push(tls::measure(plan).await?),
            Part::Idle => sections.push(proxies::idle::measure(plan).await?),
        }
    }
    Ok(BenchReport { timestamp, machine, plan: plan.clone(), sections })
}

/// Measures a part on a fresh system, without leftovers of another part.
async fn on_a_stack(
    plan: &BenchPlan,
    measure: impl AsyncFnOnce(&BenchEnv<'_>) -> Result<report::Section>,
) -> Result<report::Section> {
    let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES).store(Store::Hybrid);
    let stack = stack.env("stateful-svc", "HOT_SET_BYTES", plan.hot_set_bytes().to_string());
    let stack = stack.start().await.context("the system does not start")?;
    let section = async {
        let env = BenchEnv { stack: &stack, plan, processes: Processes::of(&stack)? };
        env.await_leases().await?;
        measure(&env).await
    };
    let section = section.await;
    stack.shutdown().await;
    section
}

fn machine() -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &str| {
        line.strip_prefix("model name")
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let builds = Builds::beside_current_exe()?;
    let profile = builds.dir().file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Machine {
        processor: processors
            .lines()
            .find_map(named)
            .unwrap_or_else(|| "unknown processor".to_owned()),
        cores: thread::available_parallelism()?.get(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        profile: profile.unwrap_or_default(),
    })
}
