//! The gateway compared with other proxies that do the same work for the same requests.
//!
//! Every contender has origins of its own (`origin`), in one process. All run for the whole part
//! and are idle outside their turns; `running` configures and starts them. A turn connects, warms
//! up and measures. `responses` checks every response, and the access log must have a line for
//! each. The relay does no work and shows what TCP costs. [`idle`] measures idle clients.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::contender::Contender;
use super::cost::{Costed, Processes};
use super::descriptors;
use super::drive::{drive_over, for_a_while};
use super::plan::BenchPlan;
use super::report::{Load, Section};
use super::rounds::{Round, row};
use super::workload::Workload;
use crate::client::connected;
use ratios::{Measured, ratios};
use requests::request;
use running::{EDGE, PROXY, Running, start_all};
use setup::{SPARE_CONNECTIONS, Setup};

pub(super) mod idle;

mod access_log;
mod certificate;
mod child;
mod edge;
mod idle_client;
mod launch;
mod origins;
mod ratios;
mod requests;
mod responses;
mod running;
mod setup;

/// Warm-up of a turn, as a share of the round.
const WARM_UP: f64 = 0.2;

/// One section for each load and number of threads.
pub(super) async fn measure(plan: &BenchPlan) -> Result<Vec<Section>> {
    let needed = plan.proxy_loads().map(|(_, connections)| connections).max().unwrap_or_default();
    let most = descriptors::most_clients()?;
    descriptors::check(needed, most)?;
    let mut sections = Vec::new();
    for &threads in &plan.threads {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let max_clients = most.min(needed + SPARE_CONNECTIONS);
        let setup = Setup::new(plan, folder.path(), threads, max_clients, &plan.workloads)?;
        let mut running = start_all(&setup, plan.proxies.iter().copied()).await?;
        let mut done = Vec::new();
        for (workload, connections) in plan.proxy_loads() {
            let load = Load { workload, connections, threads };
            let measured = compare(plan, &mut running, load).await?;
            let errors = running.iter().filter_map(|proxy| {
                Some(format!("{}: {}", proxy.contender, proxy.responses.take_first_error()?))
            });
            sections.push(Section { errors: errors.collect(), ..section(&measured, &done) });
            done.push(measured);
        }
        for proxy in &running {
            proxy
                .responses
                .check_spread()
                .with_context(|| format!("{} does different work", proxy.contender))?;
        }
    }
    Ok(sections)
}

/// Measures all contenders with one load, in turns.
async fn compare(plan: &BenchPlan, running: &mut [Running], load: Load) -> Result<Measured> {
    let Load { workload, connections, .. } = load;
    let mut running: Vec<&mut Running> =
        running.iter_mut().filter(|proxy| workload.suits(proxy.contender)).collect();
    let mut rounds: Vec<(Contender, Vec<Round>)> =
        running.iter().map(|proxy| (proxy.contender, Vec::new())).collect();
    for _ in 0..plan.rounds {
        for (proxy, (contender, rounds)) in running.iter_mut().zip(&mut rounds) {
            let turn = turn(plan, proxy, workload, connections).await.with_context(|| {
                format!("{contender}, {}, {connections} connections", workload.title())
            });
            rounds.push(turn?);
        }
    }
    Ok(Measured { load, rounds })
}

fn section(measured: &Measured, before: &[Measured]) -> Section {
    let Measured { load: load @ Load { workload, connections, threads }, rounds } = measured;
    Section {
        title: format!("{}: {connections} connections, threads: {threads}", workload.title()),
        rows: rounds.iter().map(|(contender, rounds)| row(contender.title(), rounds)).collect(),
        ratios: ratios(measured, before),
        load: Some(*load),
        ..Section::default()
    }
}

/// Measures one contender in one round.
async fn turn(
    plan: &BenchPlan,
    proxy: &mut Running,
    workload: Workload,
    connections: usize,
) -> Result<Round> {
    let edge = proxy.edge_of(workload);
    let mut groups = vec![(PROXY, Costed::alone(proxy.pids()?))];
    if workload.has_edge() {
        let pids = edge.map(|edge| edge.pids()).transpose()?.unwrap_or_default();
        groups.push((EDGE, Costed::alone(pids)));
    }
    groups.push(("origins", Costed::alone([proxy.origins.pid()])));
    groups.push(("loadtest", Costed::alone([std::process::id()])));
    let processes = Processes::of_groups(groups);

    proxy.begin_turn()?;
    edge.map(|edge| edge.access_log.begin()).transpose()?;
    let responses = Arc::clone(&proxy.responses);
    let judge = move |response: &crate::client::Response| responses.judge(workload, response);
    let next = move |number| request(workload, number);
    let clients = connected(proxy.target(workload), connections).await?;
    let warm_up = for_a_while(plan.round().mul_f64(WARM_UP), next);
    let (warm, clients) = drive_over(clients, warm_up, judge.clone()).await;
    let (mut sent, mut failed) = (warm.good + warm.failed, warm.failed);
    ensure!(
        warm.good > 0,
        "no correct response: {}",
        proxy.responses.take_first_error().unwrap_or_default()
    );
    let next = for_a_while(plan.round(), next);
    let round = Round::measure(&processes, async {
        let (driven, _clients) = drive_over(clients, next, judge).await;
        sent += driven.good + driven.failed;
        failed += driven.failed;
        Ok(driven.into())
    });
    let round = round.await?;
    // The line of a failed request may be missing. The report counts those requests.
    if let (0, Some(log)) = (failed, &proxy.access_log) {
        log.await_lines(sent).await?;
    }
    Ok(round)
}
