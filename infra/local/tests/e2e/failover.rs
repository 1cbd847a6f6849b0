//! Failover of an instance under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use local_stack::{Stack, Store};
use proto_contracts::control::Explanation;
use proto_contracts::{ErrorCode, Problem, Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, Created};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const SESSIONS: usize = 24;
const VICTIM: &str = "stateful-2";
/// Requests per session and phase, so that there is load in all phases.
const LAPS: usize = 5;

/// The clients' load and its progress.
struct Load {
    stop: AtomicBool,
    laps: Vec<AtomicUsize>,
}

impl Load {
    /// Waits until each client has completed some more laps.
    async fn wait_for_progress(&self) -> Result<()> {
        let begin: Vec<_> = self.laps.iter().map(|laps| laps.load(Ordering::Relaxed)).collect();
        let all_went = || {
            self.laps
                .iter()
                .zip(&begin)
                .all(|(laps, begin)| laps.load(Ordering::Relaxed) >= begin + LAPS)
        };
        until("every client makes progress", || async { Ok(all_went().then_some(())) }).await
    }

    /// One client: reads and writes until it is stopped. Returns the acknowledged messages.
    async fn client(&self, number: usize, api: &Api, session: &Created) -> Result<Vec<String>> {
        let mut acknowledged = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let lap = self.laps[number].load(Ordering::Relaxed);
            for path in [session.path(), format!("{}/history?limit=1", session.path())] {
                let read = api.get(&path).await.context("a GET broke")?;
                ensure!(read.status == 200, "a GET failed: {read}");
            }
            let text = format!("message {lap}");
            let posted =
                api.post(&format!("{}/messages", session.path()), &json!({"message": text})).await;
            let posted = posted.context("a POST got no response")?;
            match posted.status {
                201 => acknowledged.push(text),
                // Sent before the instance died: the outcome is unknown, so it is not retried.
                502 => drop(posted.problem(ErrorCode::UpstreamFailed)),
                503 => drop(posted.problem(posted.json::<Problem>().code)),
                _ => anyhow::bail!("a POST failed otherwise: {posted}"),
            }
            self.laps[number].store(lap + 1, Ordering::Relaxed);
        }
        Ok(acknowledged)
    }
}

#[tokio::test]
async fn a_killed_instance_fails_no_get_and_its_sessions_return_with_it() -> Result<()> {
    // For some seconds the gateway still lists the dead instance as healthy.
    let stack = small_stack().store(Store::Hybrid).start().await?;
    let (api, control) = (Api::on_gateway(&stack)?, Api::control(&stack)?);
    let sessions = try_join_all((0..SESSIONS).map(|_| api.create())).await?;
    let mut next_in_rank = BTreeMap::new();
    for session in &sessions {
        let key = &session.id[..8];
        let response =
            control.get(&format!("/control/v1/pools/stateful/explain?key={key}")).await?;
        let ranking = response.json::<Explanation>().ranking;
        assert_eq!(ranking[0].name.as_str(), session.response.served_by());
        next_in_rank.insert(session.id.clone(), ranking[1].name.to_string());
    }
    let victims = sessions.iter().filter(|session| session.response.served_by() == VICTIM).count();
    assert!(victims > 0, "placement leaves no instance of three empty with {SESSIONS} sessions");

    let load = Load {
        stop: AtomicBool::new(false),
        laps: (0..SESSIONS).map(|_| AtomicUsize::new(0)).collect(),
    };
    let clients =
        sessions.iter().enumerate().map(|(number, session)| load.client(number, &api, session));
    let course = async {
        load.wait_for_progress().await?;
        stack.kill(VICTIM).await?;
        // At once, and again after the health checks have failed.
        expect(&api, &sessions, |session| while_down(session, &next_in_rank)).await?;
        load.wait_for_progress().await?;
        marked_unhealthy(&stack).await?;
        expect(&api, &sessions, |session| while_down(session, &next_in_rank)).await?;
        load.wait_for_progress().await?;
        stack.start_component(VICTIM).await?;
        expect(&api, &sessions, |session| (Verdict::Home, session.response.served_by())).await?;
        load.wait_for_progress().await?;
        load.stop.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (acknowledged, ()) = tokio::try_join!(try_join_all(clients), course)?;

    for (session, acknowledged) in sessions.iter().zip(acknowledged) {
        let found = history(&api, session).await?;
        let acknowledged_of_found: Vec<_> =
            found.iter().filter(|text| acknowledged.contains(text)).collect();
        assert_eq!(
            acknowledged_of_found,
            acknowledged.iter().collect::<Vec<_>>(),
            "once each, in their order"
        );
    }
    stack.shutdown().await;
    Ok(())
}

/// The verdict and instance of a session while the victim is down.
fn while_down<'a>(
    session: &'a Created,
    next_in_rank: &'a BTreeMap<String, String>,
) -> (Verdict, &'a str) {
    match session.response.served_by() {
        VICTIM => (Verdict::Failover, &next_in_rank[&session.id]),
        home => (Verdict::Home, home),
    }
}

async fn expect<'a>(
    api: &Api,
    sessions: &'a [Created],
    place: impl Fn(&'a Created) -> (Verdict, &'a str),
) -> Result<()> {
    for session in sessions {
        let read = api.request(Method::GET, &session.path());
        let read = Response::to(read).await?;
        ensure!(read.status == 200, "{read}");
        ensure!(
            (read.stamp().verdict, read.served_by()) == place(session),
            "not {:?}: {read}",
            place(session)
        );
    }
    Ok(())
}

async fn marked_unhealthy(stack: &Stack) -> Result<()> {
    use proto_contracts::PoolName;
    use proto_contracts::control::InstanceState;
    until("the gateway marks the instance unhealthy", || async {
        let pool = stack.control().pool(PoolName::Stateful).await?;
        let is_victim = |name: &proto_contracts::InstanceName| name.as_str() == VICTIM;
        let victim =
            pool.instances.iter().find(|instance| instance.name.as_ref().is_some_and(is_victim));
        let victim = victim.context("it stays in the pool")?;
        Ok((victim.state == InstanceState::Unhealthy).then_some(()))
    })
    .await
}

/// All messages of a session, page by page.
async fn history(api: &Api, session: &Created) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut cursor = String::new();
    loop {
        let response = api.get(&format!("{}/history?limit=200{cursor}", session.path())).await?;
        let page: Value = response.json();
        let messages =
            page["messages"].as_array().with_context(|| format!("no page: {response}"))?;
        texts.extend(
            messages.iter().filter_map(|message| message["message"].as_str().map(str::to_owned)),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(texts),
        }
    }
}
