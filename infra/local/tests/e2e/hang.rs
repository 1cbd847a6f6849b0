//! Instances hang under load, as under a debugger or with a stuck disk: they accept connections and
//! never respond.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto_contracts::headers::IDEMPOTENCY_KEY;
use proto_contracts::{Endpoint, MessageId, PoolName};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

/// Low enough for a busy machine: the test compares latencies.
const PER_SECOND: u32 = 200;
const SESSIONS: usize = 100;
/// When the instances hang, and when the measurement ends.
const HANG_AT: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(15);
/// Limit for the recovery of latencies after the instances begin to hang.
const RECOVERY: Duration = Duration::from_secs(5);
/// A request that meets an instance that hangs takes longer: 2 s, the default `attempt_timeout_ms`.
/// A machine that is busy with other tests is far below.
const MEETS_NONE: Duration = Duration::from_secs(1);

/// When a request was sent, and the latency of its response.
struct Timed {
    sent: Duration,
    took: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_recovers_when_an_instance_of_each_pool_hangs() -> Result<()> {
    let stack = small_stack().stateless(2).stateful(3).start().await?;
    let api = Arc::new(Api::on_gateway(&stack)?);
    let mut paths = vec![Endpoint::Info.templates().canonical.to_owned(); SESSIONS];
    for _ in 0..SESSIONS {
        paths.push(api.create().await?.path());
    }
    let begin = Instant::now();
    let load = tokio::spawn(send(Arc::clone(&api), paths, begin));
    tokio::time::sleep(HANG_AT).await;
    stack.pause("stateless-1")?;
    stack.pause("stateful-1")?;
    let timed = load.await??;
    stack.resume("stateless-1")?;
    stack.resume("stateful-1")?;
    stack.shutdown().await;

    let normal = p99(&timed, Duration::from_secs(1), HANG_AT);
    let hanging = p99(&timed, HANG_AT, HANG_AT + RECOVERY);
    let recovered = p99(&timed, HANG_AT + RECOVERY, END);
    eprintln!(
        "p99 of {PER_SECOND} requests/s: {normal:?} before an instance of each pool hangs, \
         {hanging:?} in the {} s after it, {recovered:?} from then on",
        RECOVERY.as_secs()
    );
    ensure!(hanging > MEETS_NONE, "the instances did hang");
    ensure!(recovered < MEETS_NONE, "p99 is {recovered:?} instead of {normal:?}");
    Ok(())
}

/// Sends requests at a constant rate (open loop). Each must succeed.
async fn send(api: Arc<Api>, paths: Vec<String>, begin: Instant) -> Result<Vec<Timed>> {
    let mut requests = JoinSet::new();
    // A step that is coprime to the number of paths visits all, alternating between the pools.
    for (nth, path) in
        (0..).zip((0..).step_by(SESSIONS + 1).map(|at: usize| paths[at % paths.len()].clone()))
    {
        let sent = Duration::from_secs(1) * nth / PER_SECOND;
        if sent >= END {
            break;
        }
        tokio::time::sleep_until((begin + sent).into()).await;
        let api = Arc::clone(&api);
        requests.spawn(async move {
            let start = Instant::now();
            let response = api
                .get(&path)
                .await
                .with_context(|| format!("{path}, sent after {sent:?}, broke"))?;
            ensure!(response.status == 200, "{path}, sent after {sent:?}: {response}");
            Ok(Timed { sent, took: start.elapsed() })
        });
    }
    requests.join_all().await.into_iter().collect()
}

/// p99 of the requests sent in this period.
fn p99(timed: &[Timed], from: Duration, to: Duration) -> Duration {
    let mut took: Vec<_> =
        timed.iter().filter(|one| (from..to).contains(&one.sent)).map(|one| one.took).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Writes with idempotency keys to sessions whose home hangs. The gateway retries them elsewhere
/// after the attempt timeout; when the home resumes, it may read them from its sockets and execute
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_key_leaves_a_hanging_home_and_is_executed_once() -> Result<()> {
    let stack = small_stack().stateful(2).start().await?;
    let api = Arc::new(Api::on_gateway(&stack)?);
    let mut sessions = Vec::new();
    while sessions.len() < 6 {
        let created = api.create().await?;
        if created.response.served_by() == "stateful-1" {
            sessions.push(created.path());
        }
    }
    stack.pause("stateful-1")?;
    let mut writes = JoinSet::new();
    for session in sessions.clone() {
        let api = Arc::clone(&api);
        writes.spawn(async move {
            let path = format!("{session}/messages");
            let key = MessageId::generate().to_string();
            let send = async || {
                let request = api.request(Method::POST, &path).header(IDEMPOTENCY_KEY, &key);
                Response::to(request.json(&json!({"message": "while its home hangs"}))).await
            };
            let first = send().await?;
            ensure!(first.status == 201, "{first}");
            ensure!(first.served_by() == "stateful-2", "{first}");
            let again = send().await?;
            ensure!(
                (again.status, &again.body) == (201, &first.body),
                "{again} instead of {first}"
            );
            Ok(session)
        });
    }
    let written: Vec<Result<String>> = writes.join_all().await;
    stack.resume("stateful-1")?;
    let awake = vec![(PoolName::Stateful, "stateful-1".to_owned(), stack.addr_of("stateful-1")?)];
    stack.control().await_healthy(&awake).await?;
    for session in written {
        let history = api.get(&format!("{}/history", session?)).await?;
        let page: Value = history.json();
        ensure!(page["messages"].as_array().map(Vec::len) == Some(1), "{history}");
    }
    stack.shutdown().await;
    Ok(())
}
