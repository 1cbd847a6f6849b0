//! The gateway compared with other proxies that do the same work for the same requests.
//!
//! One process serves two origins of each pool (`origin`). Every contender runs for the whole part
//! and is idle outside its turns; `running` configures and starts it. A turn connects, warms up and
//! measures. `responses` checks every response, and the access log must have a line for each.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use local_stack::Builds;

use super::contender::Contender;
use super::cost::Processes;
use super::drive::{connect, drive_over, for_a_while};
use super::plan::BenchPlan;
use super::report::{Bound, Ratio, Section};
use super::rounds::{Round, ratio, row};
use origins::Origins;
use running::Running;

mod access_log;
mod child;
mod launch;
mod origins;
mod responses;
mod running;

/// Warm-up of a turn, as a share of the round.
const WARM_UP: f64 = 0.2;
/// The reported ratios: name, numerator, denominator, upper bound.
const RATIOS: [(&str, Contender, Contender, Option<f64>); 7] = [
    (
        "CPU, gateway over HAProxy, both HTTP/1.1 to the origins",
        Contender::Gateway,
        Contender::Haproxy,
        Some(1.0),
    ),
    (
        "CPU, gateway over HAProxy, both h2 to the origins",
        Contender::GatewayH2,
        Contender::HaproxyH2,
        Some(1.0),
    ),
    (
        "CPU, gateway, h2 over HTTP/1.1 to the origins",
        Contender::GatewayH2,
        Contender::Gateway,
        None,
    ),
    ("CPU, other gateway over gateway", Contender::OtherGateway, Contender::Gateway, None),
    (
        "CPU, other gateway over gateway, h2 to the origins",
        Contender::OtherGatewayH2,
        Contender::GatewayH2,
        None,
    ),
    ("CPU, gateway over Nginx", Contender::Gateway, Contender::Nginx, None),
    ("CPU, gateway over Caddy", Contender::Gateway, Contender::Caddy, None),
];

/// One section for each number of connections.
pub(super) async fn measure(plan: &BenchPlan) -> Result<Vec<Section>> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let builds = Builds::beside_current_exe()?;
    let origins = Origins::start(folder.path(), &builds).await?;
    let mut running = Vec::new();
    let other = |contender: &Contender| plan.other_gateway.as_ref().and(contender.by_other_build());
    let others = plan.proxies.iter().filter_map(other);
    for contender in plan.proxies.iter().copied().chain(others) {
        let proxy = Running::start(contender, folder.path(), &builds, &origins, plan).await;
        running.push(proxy.with_context(|| format!("{contender} does not start"))?);
    }
    let mut sections = Vec::new();
    for &connections in &plan.proxy_connections {
        sections.push(compare(plan, &mut running, &origins, connections).await?);
    }
    for proxy in &running {
        proxy
            .responses
            .check_spread()
            .with_context(|| format!("{} does different work", proxy.contender))?;
    }
    Ok(sections)
}

async fn compare(
    plan: &BenchPlan,
    running: &mut [Running],
    origins: &Origins,
    connections: usize,
) -> Result<Section> {
    let mut rounds: Vec<Vec<Round>> = running.iter().map(|_| Vec::new()).collect();
    for _ in 0..plan.rounds {
        for (proxy, rounds) in running.iter_mut().zip(&mut rounds) {
            let turn = turn(plan, proxy, origins, connections).await;
            rounds.push(
                turn.with_context(|| format!("{} at {connections} connections", proxy.contender))?,
            );
        }
    }
    let of = |wanted| {
        running
            .iter()
            .zip(&rounds)
            .find(|(proxy, _)| proxy.contender == wanted)
            .map(|(_, rounds)| rounds)
    };
    let ratios = RATIOS.into_iter().filter_map(|(name, left, right, bound)| {
        let ratio = ratio(of(left)?, of(right)?, |round| round.cpu_of(PROXY));
        Some(Ratio { name, ratio, bound: bound.map(Bound::AtMost) })
    });
    Ok(Section {
        title: format!(
            "The same work by each proxy, {connections} connections, threads: {}",
            plan.threads
        ),
        rows: running
            .iter()
            .zip(&rounds)
            .map(|(proxy, rounds)| row(proxy.contender.title(), rounds))
            .collect(),
        ratios: ratios.collect(),
        memory: None,
    })
}

/// Name of the measured process in the report.
const PROXY: &str = "proxy";

/// Measures one contender in one round.
async fn turn(
    plan: &BenchPlan,
    proxy: &mut Running,
    origins: &Origins,
    connections: usize,
) -> Result<Round> {
    let processes = Processes::of_groups(vec![
        (PROXY, proxy.pids()?),
        ("origins", vec![origins.pid()]),
        ("loadtest", vec![std::process::id()]),
    ]);
    let responses = Arc::clone(&proxy.responses);
    let judge = move |response: &crate::client::Response| responses.judge(response);
    let begin = proxy.access_log.begin()?;
    let clients = connect(&proxy.target, connections).await?;
    let warm_up = for_a_while(plan.round().mul_f64(WARM_UP), responses::request);
    let (warm, clients) = drive_over(clients, warm_up, judge.clone()).await;
    let mut sent = warm.good + warm.failed;
    ensure!(warm.good > 0, "no correct response: {}", proxy.responses.first_error());
    let next = for_a_while(plan.round(), responses::request);
    let round = Round::measure(&processes, async {
        let (driven, _clients) = drive_over(clients, next, judge).await;
        sent += driven.good + driven.failed;
        Ok(driven.into())
    });
    let round = round.await?;
    proxy.access_log.await_lines(begin, sent).await?;
    Ok(round)
}
