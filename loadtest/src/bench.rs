//! `loadtest bench`: what the system costs, measured side by side with what limits it.
//!
//! [`plan`] is what to measure. A stack of its own is started (`bed`); the loads of each part take turns (`rounds`), so that
//! whatever else the machine does hits all of them; what each process used is read from the kernel (`cost`). `reads`,
//! `writes` and `memory` are the parts; [`report`] has what they found. The comparison of the gateway with other proxies
//! will be a part of its own, beside these.
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
        // Each part has a system of its own: what one leaves behind would be another's load.
        let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES).store(Store::Hybrid);
        let stack = stack.env("stateful-svc", "HOT_SET_BYTES", plan.hot_set_bytes().to_string());
        let stack = stack.start().await.context("the system does not start")?;
        let section = measure(*part, &stack, plan).await;
        stack.shutdown().await;
        sections.push(section?);
    }
    Ok(BenchReport { timestamp, machine, plan: plan.clone(), sections })
}

async fn measure(part: Part, stack: &Stack, plan: &BenchPlan) -> Result<report::Section> {
    let bed = Bed { stack, plan, processes: Processes::of(stack)? };
    bed.await_leases().await?;
    match part {
        Part::Reads => reads::measure(&bed).await,
        Part::Writes => writes::measure(&bed).await,
        Part::Memory => memory::measure(&bed).await,
    }
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
