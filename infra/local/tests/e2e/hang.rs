//! Instances stand still under load, as by a debugger or a stuck disk: they take connections and answer nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto_contracts::Endpoint;
use tokio::task::JoinSet;

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
