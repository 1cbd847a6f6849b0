//! Instances stand still under load, as by a debugger or a stuck disk: they take connections and answer nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto_contracts::headers::IDEMPOTENCY_KEY;
use proto_contracts::{Endpoint, MessageId, PoolName};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::api::Api;
use crate::small_stack;

/// Light enough for a busy machine: it is the ratio of latencies that counts.
const PER_SECOND: u32 = 200;
const SESSIONS: usize = 100;
/// When the instances stop, and when the measurement ends.
const STOPPED: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(15);
/// How soon after the stop latencies are as before.
const RECOVERY: Duration = Duration::from_secs(5);
/// What a machine that is busy with other tests may add to a p99.
const FLOOR: Duration = Duration::from_millis(60);

/// One request: when it was sent, and how long its good answer took.
struct Timed {
    sent: Duration,
    took: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_each_pool_that_hangs_slows_nobody_down_for_long() -> Result<()> {
    let stack = small_stack().stateless(2).stateful(3).start().await?;
    let api = Arc::new(Api::on_gateway(&stack)?);
    let mut paths = vec![Endpoint::Info.templates().canonical.to_owned(); SESSIONS];
    for _ in 0..SESSIONS {
        paths.push(api.create().await?.path());
    }
    let begin = Instant::now();
    let load = tokio::spawn(send(Arc::clone(&api), paths, begin));
    tokio::time::sleep(STOPPED).await;
    stack.pause("stateless-1")?;
    stack.pause("stateful-1")?;
    let timed = load.await??;
    stack.resume("stateless-1")?;
    stack.resume("stateful-1")?;
    stack.shutdown().await;

    let normal = p99(&timed, Duration::from_secs(1), STOPPED);
    let hanging = p99(&timed, STOPPED, STOPPED + RECOVERY);
    let recovered = p99(&timed, STOPPED + RECOVERY, END);
    eprintln!(
        "p99 of {PER_SECOND} requests/s: {normal:?} before an instance of each pool hangs, {hanging:?} in the {} s after it, \
         {recovered:?} from then on",
        RECOVERY.as_secs()
    );
    ensure!(hanging > normal, "the instances did hang");
    ensure!(recovered <= (normal * 3 / 2).max(FLOOR), "p99 is {recovered:?} instead of {normal:?}");
    Ok(())
}

/// Sends requests at fixed times, whatever becomes of those before. Each must have a good answer.
async fn send(api: Arc<Api>, paths: Vec<String>, begin: Instant) -> Result<Vec<Timed>> {
    let mut requests = JoinSet::new();
    // A step that shares no divisor with the number of paths visits all of them, of either pool in turn.
    for (nth, path) in (0..).zip((0..).step_by(SESSIONS + 1).map(|at: usize| paths[at % paths.len()].clone())) {
        let sent = Duration::from_secs(1) * nth / PER_SECOND;
        if sent >= END {
            break;
        }
        tokio::time::sleep_until((begin + sent).into()).await;
        let api = Arc::clone(&api);
        requests.spawn(async move {
            let asked = Instant::now();
            let answer = api.get(&path).await.with_context(|| format!("{path}, sent after {sent:?}, broke"))?;
            ensure!(answer.status == 200, "{path}, sent after {sent:?}: {answer}");
            Ok(Timed { sent, took: asked.elapsed() })
        });
    }
    requests.join_all().await.into_iter().collect()
}

/// Of the requests that were sent in this time.
fn p99(timed: &[Timed], from: Duration, to: Duration) -> Duration {
    let mut took: Vec<_> = timed.iter().filter(|one| (from..to).contains(&one.sent)).map(|one| one.took).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Writes to sessions whose home stands still, with a key each. They leave it after the attempt timeout; when it wakes up it
/// may find them in its sockets and do them then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_key_leaves_a_home_that_hangs_and_is_done_once() -> Result<()> {
    let stack = small_stack().stateful(2).start().await?;
    let api = Arc::new(Api::on_gateway(&stack)?);
    let mut sessions = Vec::new();
    while sessions.len() < 6 {
        let created = api.create().await?;
        if created.answer.served_by() == "stateful-1" {
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
                Answer::to(request.json(&json!({"message": "while its home hangs"}))).await
            };
            let first = send().await?;
            ensure!(first.status == 201, "{first}");
            ensure!(first.served_by() == "stateful-2", "{first}");
            let again = send().await?;
            ensure!((again.status, &again.body) == (201, &first.body), "{again} instead of {first}");
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
