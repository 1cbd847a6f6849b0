//! What TLS between the tiers costs: two systems, one with it, under alternating loads through Nginx.
//!
//! Each process does the cryptography of its own sides: Redis and PostgreSQL that of one hop, Nginx
//! that of one besides its clients', the gateway and the services that of several.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::StatusCode;
use local_stack::{Stack, Store};
use proto_contracts::Endpoint;

use super::cost::{Costed, INSTANCES, Processes};
use super::drive::{drive, for_a_while};
use super::env::BenchEnv;
use super::plan::BenchPlan;
use super::report::{Ratio, Section};
use super::rounds::{Done, Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::request;
use crate::target::{Reach, Target};

/// The processes whose cost is compared.
const ROLES: [&str; 5] = ["edge", "gateway", "service", "redis", "postgres"];

/// One of the two systems, and the rounds of each load on it.
struct Side {
    name: &'static str,
    stack: Stack,
    processes: Processes,
    edge: Arc<Target>,
    sessions: Sessions,
    infos: Vec<Round>,
    reads: Vec<Round>,
    messages: Vec<Round>,
    searches: Vec<Round>,
}

pub(crate) async fn measure(plan: &BenchPlan) -> Result<Section> {
    let mut sides = Vec::new();
    for name in ["plain", "TLS"] {
        sides.push(Side::start(plan, name).await?);
    }
    for round in 0..plan.rounds {
        for side in &mut sides {
            side.measure(plan, round).await?;
        }
    }
    let mut section = Section { title: "TLS between the tiers".to_owned(), ..Section::default() };
    let [plain, tls] = &sides[..] else { return Ok(section) };
    for (load, rounds) in LOADS {
        for side in &sides {
            section.rows.push(row(format!("{load}, {}", side.name), rounds(side)));
        }
        for role in ROLES {
            let ratio = ratio(rounds(tls), rounds(plain), |round| round.cpu_of(role));
            // A process that the load does not need has no time to compare.
            if ratio.median.is_finite() {
                let name = format!("CPU of {role}, {load}, TLS over plain");
                section.ratios.push(Ratio { name, ratio, bound: None });
            }
        }
    }
    for side in sides {
        side.stack.shutdown().await;
    }
    Ok(section)
}

/// The rounds of a load.
type Rounds = fn(&Side) -> &Vec<Round>;

/// The loads, by what they need behind the gateway.
const LOADS: [(&str, Rounds); 4] = [
    ("info", |side| &side.infos),
    ("session from memory", |side| &side.reads),
    ("message into Redis", |side| &side.messages),
    ("search in PostgreSQL", |side| &side.searches),
];

impl Side {
    async fn start(plan: &BenchPlan, name: &'static str) -> Result<Self> {
        let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES);
        let stack = stack.store(Store::Hybrid).with_nginx();
        let stack = stack.env("stateful-svc", "HOT_SET_BYTES", plan.hot_set_bytes().to_string());
        let stack = if name == "TLS" { stack.with_tls() } else { stack };
        let stack = stack.start().await.context("the system does not start")?;
        let url = stack.urls().https.context("it has no Nginx")?;
        let edge = Target::resolve(&url, Some(&stack.ca_path()), Reach::ThisMachine).await?;
        let edge = Arc::new(edge);
        // So that all connections to PostgreSQL are open.
        let next =
            for_a_while(plan.round(), |number| request::get(&format!("{SEARCH}before-{number}")));
        load(plan, &edge, next, StatusCode::OK).await?;
        let processes = processes(&stack)?;
        let env = BenchEnv { stack: &stack, plan, processes: Processes::of(&stack)? };
        env.await_leases().await?;
        let sessions =
            Sessions::create(&edge, plan.connections, plan.sessions, Routed::Unmarked).await?;
        let (infos, reads, messages, searches) = (vec![], vec![], vec![], vec![]);
        Ok(Self { name, stack, processes, edge, sessions, infos, reads, messages, searches })
    }

    async fn measure(&mut self, plan: &BenchPlan, round: usize) -> Result<()> {
        let (edge, processes) = (&self.edge, &self.processes);
        let path = Endpoint::Info.templates().canonical;
        let next = for_a_while(plan.round(), move |_| request::get(path));
        self.infos.push(Round::measure(processes, load(plan, edge, next, StatusCode::OK)).await?);
        let sessions = self.sessions.clone();
        let next = for_a_while(plan.round(), move |number| sessions.read(number));
        self.reads.push(Round::measure(processes, load(plan, edge, next, StatusCode::OK)).await?);
        let sessions = self.sessions.clone();
        let next = for_a_while(plan.round(), move |number| sessions.message(number));
        let posted = load(plan, edge, next, StatusCode::CREATED);
        self.messages.push(Round::measure(processes, posted).await?);
        // Another search each time, so that no cache has it.
        let next = for_a_while(plan.round(), move |number| {
            request::get(&format!("{SEARCH}{round}-{number}"))
        });
        let searched = load(plan, edge, next, StatusCode::OK);
        self.searches.push(Round::measure(processes, searched).await?);
        Ok(())
    }
}

const SEARCH: &str = "/api/v1/stateless/products?limit=1&q=";

async fn load(
    plan: &BenchPlan,
    target: &Arc<Target>,
    next: impl FnMut() -> Option<crate::client::ScenarioRequest> + Send + 'static,
    status: StatusCode,
) -> Result<Done> {
    let judge = move |response: &crate::client::Response| response.status == status;
    Ok(drive(target, plan.connections, next, judge).await?.into())
}

fn processes(stack: &Stack) -> Result<Processes> {
    let services =
        (1..=INSTANCES).flat_map(|n| [format!("stateless-{n}"), format!("stateful-{n}")]);
    let services: Vec<_> = services.map(|name| stack.pid_of(&name)).collect::<Result<_, _>>()?;
    let redis = [stack.pid_of("redis-sessions")?, stack.pid_of("redis-cache")?];
    Ok(Processes::of_groups(vec![
        ("edge", vec![Costed::WithChildren(stack.pid_of("nginx")?)]),
        ("gateway", Costed::alone([stack.pid_of("gateway")?])),
        ("service", Costed::alone(services)),
        ("redis", Costed::alone(redis)),
        // With its maintenance, which is the same in both systems.
        ("postgres", vec![Costed::WithChildren(stack.pid_of("postgres")?)]),
        ("loadtest", Costed::alone([std::process::id()])),
    ]))
}
