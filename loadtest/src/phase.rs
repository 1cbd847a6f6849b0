//! One kind of load: connects its workers, runs them and waits for the last response.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{CallError, Client};
use crate::open_loop::Schedule;
use crate::perform::lock;
use crate::plan::{Kind, Pacing, Phase, Plan};
use crate::progress::PhaseProgress;
use crate::recorder::Recorder;
use crate::scenario::{Conversations, InfoCalls, Routed, Scenario};
use crate::{closed_loop, open_loop};

/// A phase's record, and the time from its start until its last response.
pub(crate) struct Finished {
    pub(crate) recorder: Recorder,
    pub(crate) elapsed: Duration,
}

/// Runs one phase.
///
/// # Errors
/// When the first connection fails. Later failures are counted in the record.
pub(crate) async fn run(
    plan: &Plan,
    phase: Phase,
    progress: PhaseProgress,
) -> Result<Finished, CallError> {
    match phase.kind {
        Kind::Stateless => run_scenarios(plan, phase.pacing, progress, |_| InfoCalls::new()).await,
        Kind::Stateful => {
            let client = |number| Conversations::new(plan.sessions, plan.seed, number);
            match phase.strategy {
                None => run_scenarios(plan, phase.pacing, progress, client).await,
                Some(strategy) => {
                    let routed = |number| Routed::new(client(number), strategy);
                    run_scenarios(plan, phase.pacing, progress, routed).await
                }
            }
        }
    }
}

async fn run_scenarios<S: Scenario>(
    plan: &Plan,
    pacing: Pacing,
    progress: PhaseProgress,
    scenario: impl Fn(u64) -> S,
) -> Result<Finished, CallError> {
    let clients = connect(plan).await?;
    let workers = clients.len();
    let start = Instant::now();
    // Uncontended: all workers run on one thread.
    let recorder = Arc::new(Mutex::new(Recorder::starting_at(start)));
    let (until, timeout) = (start + plan.duration, plan.timeout);
    let numbered = (0..).zip(clients).map(|(number, client)| (client, scenario(number)));
    let mut tasks = JoinSet::new();
    match pacing {
        Pacing::ClosedLoop => {
            for (client, scenario) in numbered {
                let recorder = Arc::clone(&recorder);
                tasks.spawn(async move {
                    closed_loop::work(client, scenario, until, timeout, &recorder).await
                });
            }
        }
        Pacing::OpenLoop(rate) => {
            let schedule = Arc::new(Schedule::new(start, rate, plan.duration, timeout));
            for (client, scenario) in numbered {
                let (recorder, schedule) = (Arc::clone(&recorder), Arc::clone(&schedule));
                tasks.spawn(async move {
                    open_loop::work(client, scenario, &schedule, timeout, &recorder).await
                });
            }
            tasks.spawn_blocking(move || schedule.keep_time(workers));
        }
    }
    tokio::select! {
        _ = tasks.join_all() => {}
        never = progress.follow(&recorder, start, plan.duration) => match never {},
    }
    let recorder = std::mem::replace(&mut *lock(&recorder), Recorder::starting_at(start));
    let elapsed = match pacing {
        Pacing::ClosedLoop => recorder.last_end - start,
        // The last request is due before the end, and may complete before it.
        Pacing::OpenLoop(_) => plan.duration.max(recorder.last_end - start),
    };
    Ok(Finished { recorder, elapsed })
}

/// The clients of a phase. All but the first may be unconnected.
async fn connect(plan: &Plan) -> Result<Vec<Client>, CallError> {
    let target = Arc::new(plan.target.clone());
    let mut clients: Vec<Client> =
        (0..plan.connections.get()).map(|_| Client::new(Arc::clone(&target))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        match client.warm_up().await {
            Err(error) if number == 0 => return Err(error),
            // The worker reconnects for its first request; a failure is counted then.
            _ => {}
        }
    }
    Ok(clients)
}
