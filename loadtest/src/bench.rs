//! `loadtest bench`: what the system costs, measured side by side with what limits it.
//!
//! [`plan`] is what to measure. A stack of its own is started (`bed`); the loads of each part take turns (`rounds`), so that
//! whatever else the machine does hits all of them; what each process used is read from the kernel (`cost`). `reads`,
//! `writes` and `memory` are parts; `proxies` is another, which needs no system: it sets the gateway beside other proxies, in
//! front of the same origins. [`report`] has what they found.
//!
//! **Invariant:** every figure was measured in the run that reports it.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use local_stack::{Builds, Stack, Store};

use bed::Bed;
use cost::{INSTANCES, Processes};
use plan::{BenchPlan, Part};
use report::{BenchReport, Machine};

pub mod plan;
pub mod report;

mod bed;
mod cost;
mod drive;
mod memory;
mod proxies;
mod reads;
mod redis_benchmark;
mod rounds;
mod sessions;
mod writes;

/// Runs the plan and reports on it.
///
/// # Errors
/// When the system does not start, or something could not be measured. Requests that fail in a round are in the report.
pub async fn bench(plan: &BenchPlan) -> Result<BenchReport> {
    let timestamp = Timestamp::now();
    let machine = machine()?;
    let mut sections = Vec::new();
    for part in &plan.parts {
        match part {
            Part::Reads => sections.push(on_a_stack(plan, reads::measure).await?),
            Part::Writes => sections.push(on_a_stack(plan, writes::measure).await?),
            Part::Memory => sections.push(on_a_stack(plan, memory::measure).await?),
            Part::Proxies => sections.extend(proxies::measure(plan).await?),
        }
    }
    Ok(BenchReport { timestamp, machine, plan: plan.clone(), sections })
}

/// Measures a part with a system of its own: what one part leaves behind would be another's load.
async fn on_a_stack(
    plan: &BenchPlan,
    measure: impl AsyncFnOnce(&Bed<'_>) -> Result<report::Section>,
) -> Result<report::Section> {
    let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES).store(Store::Hybrid);
    let stack = stack.env("stateful-svc", "HOT_SET_BYTES", plan.hot_set_bytes().to_string());
    let stack = stack.start().await.context("the system does not start")?;
    let section = async {
        let bed = Bed { stack: &stack, plan, processes: Processes::of(&stack)? };
        bed.await_leases().await?;
        measure(&bed).await
    };
    let section = section.await;
    stack.shutdown().await;
    section
}

fn machine() -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named =
        |line: &str| line.strip_prefix("model name").map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    let builds = Builds::beside_current_exe()?;
    let profile = builds.dir().file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Machine {
        processor: processors.lines().find_map(named).unwrap_or_else(|| "an unnamed processor".to_owned()),
        cores: thread::available_parallelism()?.get(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        profile: profile.unwrap_or_default(),
    })
}
