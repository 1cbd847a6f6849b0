//! `loadtest chaos`: injects faults under load, and checks that no acknowledged operation is lost.
//!
//! [`plan`] is the parsed command line. `system` starts a stack or connects to a running one.
//! `clients` send requests by `calls` and record the parsed `responses` in a `ledger`, while
//! `faults` are injected. At the end all sessions are read once more (`read_back`), the `checker`
//! evaluates the ledger, and [`report`] shows the result. `users` claim some of the sessions, and
//! [`data`] works on products, files and accounts meanwhile.
//!
//! **Invariant:** the checker's only input is the ledger: what clients sent, which responses they
//! received, and when.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use local_stack::Store;
use tokio::task::JoinSet;

use args::Idempotency;
use calls::Caller;
use checker::Facts;
use clients::ChaosClient;
use data::ledger::Via;
use data::read_back::Place;
use data::{Access, DataWork};
use faults::Fault;
use ledger::{Interval, Moment};
use plan::ChaosPlan;
use report::{ChaosReport, Results};
use run::{Repeats, Run};
use system::System;

pub mod args;
pub mod data;
pub mod fault_kind;
pub mod plan;
pub mod report;

mod burst;
mod calls;
mod checker;
mod clients;
mod failed;
mod faults;
mod ledger;
mod page;
mod promises;
mod read_back;
mod responses;
mod run;
pub(crate) mod system;
mod users;

/// Runs the plan and reports on it. Prints each fault to standard error when it is over.
///
/// # Errors
/// When the system does not start, or does not recover from a fault. Violations are in the report.
pub async fn chaos(plan: &ChaosPlan) -> Result<ChaosReport> {
    let system = System::find(plan).await?;
    let report = run(plan, &system).await;
    system.leave().await;
    report
}

async fn run(plan: &ChaosPlan, system: &System) -> Result<ChaosReport> {
    let timestamp = Timestamp::now();
    let target = system.target().await?;
    let varies_affinity_key = system.store() != Store::Memory.as_str();
    let users = users::register(&target, plan.subject.users()).await?;
    let admin = system.admin().await?;
    let new_run = |repeats| {
        let (target, users) = (Arc::clone(&target), users.clone());
        Run::new(target, plan.timeout, repeats, varies_affinity_key, plan.clients, users)
    };
    let repeats = match plan.idempotency {
        Idempotency::On => Repeats::UnderTheirKey,
        Idempotency::Off => Repeats::Never,
        Idempotency::Auto => {
            Caller::new(0, plan.seed, new_run(Repeats::Never)).probe_repeats().await?
        }
    };
    let run = new_run(repeats);
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let client = ChaosClient::new(number.into(), plan.seed, plan.clients, Arc::clone(&run));
        clients.spawn(client.work());
    }
    let nginx = system.nginx().await?.map(|target| Place { via: Via::Nginx, target });
    let access = Access {
        admin: admin.clone(),
        users: users.clone(),
        nginx,
        visit_every: plan.subject.visit_every(),
        repeats: plan.idempotency != Idempotency::Off,
    };
    let data = DataWork::start(&run, plan.seed, access);
    let logged_in = users.iter().cloned().chain(admin).collect();
    let logins = tokio::spawn(users::keep_logged_in(Arc::clone(&target), logged_in));
    let keyboard = tokio::spawn(interrupt_by_keyboard(Arc::clone(&run)));
    let faults = faults::drive(system, &run, plan, narrate).await;
    keyboard.abort();
    let faults::Done { faults, ledger: by_faults } = faults?;
    let duration = run.now();
    run.stop();
    let mut ledger = by_faults;
    let (mut created, mut unknown_claims) = (Vec::new(), Vec::new());
    for result in clients.join_all().await {
        ledger.extend(result.ledger);
        created.extend(result.created);
        unknown_claims.extend(result.unknown_claims);
    }
    let (resolved, claimed) = read_back::resolve(&run, unknown_claims).await;
    ledger.extend(resolved);
    created.extend(claimed);
    let settled = run.now();
    ledger.extend(read_back::read_back(&run, created).await);
    let instances = system.stateless_instances().await?.into_iter();
    let instances =
        instances.map(|(name, target)| Place { via: Via::Instance(name.into()), target }).collect();
    let fault_times: Vec<Interval> = faults.iter().map(|fault| fault.time).collect();
    let data = data.finish(instances, &fault_times).await;
    ledger.errors.extend(data.errors);
    logins.abort();
    let whole_run = plan.redis_may_go.then(|| Interval { begin: Moment::ZERO, end: run.now() });
    let caused = faults.iter().filter(|fault| fault.kind.affects_redis()).map(|fault| fault.time);
    let redis_faults: Vec<Interval> = caused.chain(whole_run).collect();
    let findings =
        checker::check(Facts { entries: &ledger.entries, settled, redis_faults: &redis_faults });
    Ok(ChaosReport::new(
        plan,
        Results {
            timestamp,
            store: system.store().to_owned(),
            duration,
            repeats,
            ledger,
            faults,
            findings,
            data: data.report,
        },
    ))
}

/// Ctrl-C ends the run early: faults are undone, and the report covers the run up to then.
async fn interrupt_by_keyboard(run: Arc<Run>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        run.interrupt();
    }
}

fn narrate(fault: &Fault) {
    let Fault { kind, target, time, undone } = fault;
    let [begin, end, undone] = [time.begin, time.end, *undone].map(|moment| moment.as_secs_f64());
    let (lasted, recovery) = (undone - begin, end - undone);
    eprintln!(
        "{begin:>7.1} s  {kind} ({target}) for {lasted:.1} s, recovered after {recovery:.1} s"
    );
}
