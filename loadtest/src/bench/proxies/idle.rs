//! Idle clients of each proxy: their memory, and the latency of requests beside them.
//!
//! In each round each contender first serves requests at a constant rate. Then many clients
//! connect, and each sends one request and keeps its connection; the contender serves the same rate
//! again. At the end every idle client sends a second request, so that none can have been dropped.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::idle_client::IdleClient;
use super::requests::request;
use super::responses::Responses;
use super::running::{PROXY, Running, start_all};
use super::setup::{SPARE_CONNECTIONS, Setup};
use crate::bench::contender::Contender;
use crate::bench::cost::{Costed, Processes, resident_bytes};
use crate::bench::descriptors;
use crate::bench::plan::BenchPlan;
use crate::bench::report::{Bound, IdleClients, Ratio, Section, Spread};
use crate::bench::rounds::{Done, Round, ratio, row};
use crate::bench::workload::Workload;
use crate::client::{Response, ScenarioRequest, connected};
use crate::open_loop;
use crate::outcome::ErrorKind;
use crate::scenario::{Operation, Scenario};

/// Connections of the requests at a constant rate.
const CONNECTIONS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of the idle clients, those that connect before memory is measured: one-time allocations.
const FIRST: f64 = 0.05;
/// Bound of the gateway's memory per idle client, bytes.
const MAX_BYTES: f64 = 8192.0;
/// Bound of the p99 with idle clients over that without.
const MAX_P99: f64 = 2.0;

/// The rounds of one contender.
#[derive(Default)]
struct Rounds {
    without: Vec<Round>,
    with: Vec<Round>,
    /// Of the first round: later ones reuse its memory.
    memory: Option<IdleClients>,
}

pub(in crate::bench) async fn measure(plan: &BenchPlan) -> Result<Section> {
    let most = descriptors::most_clients()?;
    let clients = plan.idle_clients.min(most.saturating_sub(SPARE_CONNECTIONS));
    ensure!(clients > CONNECTIONS, "the hard limit of file descriptors is too low (ulimit -Hn)");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let threads = plan.threads.first().copied().unwrap_or(1);
    let setup = Setup::new(plan, folder.path(), threads, clients + SPARE_CONNECTIONS, &[])?;
    let proxies = plan.proxies.iter().copied().filter(|contender| !contender.is_relay());
    let running = start_all(&setup, proxies).await?;
    let mut all: Vec<Rounds> = running.iter().map(|_| Rounds::default()).collect();
    for _ in 0..plan.rounds {
        for (proxy, rounds) in running.iter().zip(&mut all) {
            let turn = turn(plan, proxy, clients, rounds).await;
            turn.with_context(|| format!("{} with {clients} idle clients", proxy.contender))?;
        }
    }
    Ok(section(plan, clients, threads, &running, all))
}

fn section(
    plan: &BenchPlan,
    clients: usize,
    threads: usize,
    running: &[Running],
    all: Vec<Rounds>,
) -> Section {
    let mut section = Section::default();
    for (proxy, Rounds { without, with, memory }) in running.iter().zip(all) {
        let contender = proxy.contender;
        section.rows.push(row(contender.title(), &without));
        section.rows.push(row(format!("{contender}, idle clients"), &with));
        section.ratios.push(Ratio {
            name: format!("p99, {contender}, with idle clients over without"),
            ratio: ratio(&with, &without, |round| round.p99_ms.unwrap_or(f64::NAN)),
            bound: contender.is_gateway().then_some(Bound::AtMost(MAX_P99)),
        });
        if let (Contender::Gateway, Some(memory)) = (contender, &memory) {
            section.ratios.push(Ratio {
                name: format!("bytes per idle client, {contender}"),
                ratio: Spread::of([memory.bytes_per_client]),
                bound: Some(Bound::AtMost(MAX_BYTES)),
            });
        }
        section.idle.extend(memory);
        let error = proxy.responses.take_first_error();
        section.errors.extend(error.map(|error| format!("{contender}: {error}")));
    }
    let rate = plan.idle_rate;
    section.title = format!("{rate} requests/s beside {clients} idle clients, threads: {threads}");
    if clients < plan.idle_clients {
        let wanted = plan.idle_clients;
        section.title += &format!(" (not {wanted}: the descriptors allow no more)");
    }
    section
}

async fn turn(
    plan: &BenchPlan,
    proxy: &Running,
    clients: usize,
    rounds: &mut Rounds,
) -> Result<()> {
    let pids = proxy.pids()?;
    let processes = Processes::of_groups(vec![
        (PROXY, Costed::alone(pids.iter().copied())),
        ("origins", Costed::alone([proxy.origins.pid()])),
        ("loadtest", Costed::alone([std::process::id()])),
    ]);
    let resident = || pids.iter().map(|&pid| resident_bytes(pid)).sum::<Result<u64>>();
    proxy.begin_turn()?;
    let load = || at_constant_rate(proxy, plan.idle_rate, plan.round());
    rounds.without.push(Round::measure(&processes, load()).await?);

    let resident_bytes = resident()?;
    let first = ((clients as f64 * FIRST) as usize).max(1);
    let mut idle = open(proxy, first).await?;
    let before = resident()?;
    idle.append(&mut open(proxy, clients - first).await?);
    let grown = resident()?.saturating_sub(before);
    rounds.memory.get_or_insert_with(|| IdleClients {
        name: proxy.contender.title(),
        clients,
        resident_bytes,
        bytes_per_client: grown as f64 / (clients - first) as f64,
    });

    rounds.with.push(Round::measure(&processes, load()).await?);
    for client in &mut idle {
        client.request().await.context("an idle client")?;
    }
    Ok(())
}

/// Connects clients; each gets a response and stays connected.
async fn open(proxy: &Running, clients: usize) -> Result<Vec<IdleClient>> {
    let mut idle = Vec::with_capacity(clients);
    for number in 0..clients {
        let client = IdleClient::connect(proxy.target(Workload::Small)).await;
        idle.push(client.with_context(|| format!("client {number}"))?);
    }
    Ok(idle)
}

/// Sends checked requests at that rate.
async fn at_constant_rate(proxy: &Running, rate: NonZeroU32, duration: Duration) -> Result<Done> {
    let clients = connected(proxy.target(Workload::Small), CONNECTIONS).await?;
    let start = Instant::now();
    let judged = |number| Judged { number, responses: Arc::clone(&proxy.responses) };
    let recorder = open_loop::run(clients, judged, rate, duration, TIMEOUT).await;
    Done::of_open_loop(&recorder, start)
}

/// One connection's requests of the comparison.
struct Judged {
    number: usize,
    responses: Arc<Responses>,
}

impl Scenario for Judged {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        // Odd, so that each connection serves both pools.
        self.number += CONNECTIONS + 1;
        (Operation::Info, request(Workload::Small, self.number))
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        let is_correct = self.responses.judge(Workload::Small, response);
        is_correct.then_some(()).ok_or(ErrorKind::WrongResponse)
    }

    fn abandon(&mut self) {}
}
