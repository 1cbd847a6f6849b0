//! One kind of load: connects its workers, sets them to work and waits for the last answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::client::{CallError, Client};
use crate::open_loop::Schedule;
use crate::plan::{Kind, Pacing, Phase, Plan};
use crate::progress::PhaseProgress;
use crate::recorder::{ErrorKind, Recorder};
use crate::scenario::{Conversations, InfoCalls, Operation, Scenario};
use crate::{closed_loop, open_loop};

/// What a phase recorded, and how long it took from its start until its last answer.
pub(crate) struct Finished {
    pub(crate) recorder: Recorder,
    pub(crate) elapsed: Duration,
}

/// Runs one phase.
///
/// # Errors
/// When the first connection cannot be made: then nothing would be measured. What fails later is counted.
pub(crate) async fn run(plan: &Plan, phase: Phase, progress: PhaseProgress) -> Result<Finished, CallError> {
    match phase.kind {
        Kind::Stateless => run_scenarios(plan, phase.pacing, progress, |_| InfoCalls::new()).await,
        Kind::Stateful => {
            let client = |number| Conversations::new(plan.sessions, plan.seed, number);
            run_scenarios(plan, phase.pacing, progress, client).await
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
    // Uncontended: all workers live on one thread. It is a lock because the runtime does not know that.
    let recorder = Arc::new(Mutex::new(Recorder::starting_at(start)));
    let (until, timeout) = (start + plan.duration, plan.timeout);
    let numbered = (0..).zip(clients).map(|(number, client)| (client, scenario(number)));
    let mut tasks = JoinSet::new();
    match pacing {
        Pacing::ClosedLoop => {
            for (client, scenario) in numbered {
                let recorder = Arc::clone(&recorder);
                tasks.spawn(async move { closed_loop::work(client, scenario, until, timeout, &recorder).await });
            }
        }
        Pacing::OpenLoop(rate) => {
            let schedule = Arc::new(Schedule::new(start, rate, plan.duration, timeout));
            for (client, scenario) in numbered {
                let (recorder, schedule) = (Arc::clone(&recorder), Arc::clone(&schedule));
                tasks.spawn(async move { open_loop::work(client, scenario, &schedule, timeout, &recorder).await });
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
        // The last request is due before the end, and may be answered before it.
        Pacing::OpenLoop(_) => plan.duration.max(recorder.last_end - start),
    };
    Ok(Finished { recorder, elapsed })
}

/// The clients of a phase, connected as far as possible.
async fn connect(plan: &Plan) -> Result<Vec<Client>, CallError> {
    let target = Arc::new(plan.target.clone());
    let mut clients: Vec<Client> = (0..plan.connections.get()).map(|_| Client::new(Arc::clone(&target))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        match client.warm_up().await {
            Err(error) if number == 0 => return Err(error),
            // The worker tries again with its first request, and that failure will be counted.
            _ => {}
        }
    }
    Ok(clients)
}

/// One call of the scenario: sent, answered and judged. At the deadline it fails in the way of `then`; if that is over
/// already, nothing is sent.
pub(crate) async fn perform<S: Scenario>(
    client: &mut Client,
    scenario: &mut S,
    deadline: Instant,
    then: ErrorKind,
) -> (Operation, Result<(), ErrorKind>) {
    let (operation, request) = scenario.next();
    let outcome = if Instant::now() >= deadline {
        Err(then)
    } else {
        match timeout_at(deadline.into(), client.send(request)).await {
            Ok(Ok(answer)) => scenario.judge(&answer),
            Ok(Err(error)) => Err(ErrorKind::from(&error)),
            Err(_elapsed) => Err(then),
        }
    };
    if outcome.is_err() {
        scenario.give_up();
    }
    (operation, outcome)
}

/// Locks it, also after a panic elsewhere: counts are never half written.
pub(crate) fn lock(recorder: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
