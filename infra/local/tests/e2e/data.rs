//! Data servers fail and return; the services neither restart nor leave the pool.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_stack::{Stack, Store};
use proto_contracts::control::InstanceState;
use proto_contracts::health::{Readiness, Status};
use proto_contracts::stateful::{HistoryPage, MessagePosted};
use proto_contracts::{ErrorCode, MessageId};
use serde_json::json;

use crate::api::{Api, Created};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const SESSIONS: usize = 8;
/// Longer than the gateway takes to mark an instance unhealthy: three checks, one a second.
const OBSERVED: Duration = Duration::from_secs(4);
/// How often the pool is read meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[tokio::test]
async fn every_acknowledged_message_survives_the_crash_of_redis() -> Result<()> {
    let stack = small_stack().store(Store::Redis).start().await?;
    let api = Api::on_gateway(&stack)?;
    let instance = Api::on_instance(&stack, "stateful-1")?;
    let pids = pids(&stack, "stateful")?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(api.create().await?);
    }

    // The writers continue through the crash, the outage and the recovery.
    let (stop, stopped) = tokio::sync::watch::channel(());
    let writers = sessions.iter().map(|session| write_until(&api, session, stopped.clone()));
    let course = async {
        let appended = |least: u64| {
            let (api, sessions) = (&api, &sessions);
            async move {
                let mut all = true;
                for session in sessions {
                    let read = api.get(&session.path()).await?;
                    all &= read.status == 200
                        && read.json::<serde_json::Value>()["message_count"].as_u64()
                            >= Some(least);
                }
                Ok(all.then_some(()))
            }
        };
        until("each session has messages", || appended(5)).await?;
        stack.kill("redis-sessions").await?;

        for session in &sessions {
            let refused = api
                .post(&format!("{}/messages", session.path()), &json!({"message": "lost"}))
                .await?;
            refused.problem(ErrorCode::SessionStoreUnavailable);
            api.get(&session.path()).await?.problem(ErrorCode::SessionStoreUnavailable);
        }
        let refused = api.post(crate::api::SESSIONS, &json!({})).await?;
        refused.problem(ErrorCode::SessionStoreUnavailable);
        until("readyz is 503", || not_ready(&instance)).await?;
        observe_healthy(&stack).await?;

        stack.start_component("redis-sessions").await?;
        until("readyz is 200 again", || ready(&instance)).await?;
        let now = api.get(&sessions[0].path()).await?.json::<serde_json::Value>()["message_count"]
            .as_u64();
        let more = now.context("a count")? + 5;
        until("the writers go on", || appended(more)).await?;
        stop.send(())?;
        anyhow::Ok(())
    };
    let (acknowledged, ()) = tokio::try_join!(futures_util::future::try_join_all(writers), course)?;

    for (session, acknowledged) in sessions.iter().zip(acknowledged) {
        let found = history(&api, session).await?;
        for posted in &acknowledged {
            // At its number, with its text: neither lost nor moved nor duplicated.
            let place = usize::try_from(posted.number)? - 1;
            assert_eq!(
                found.get(place),
                Some(&(posted.message_id, posted.message.clone())),
                "{posted:?}"
            );
        }
    }
    assert_eq!(self::pids(&stack, "stateful")?, pids, "nothing was restarted");
    stack.shutdown().await;
    Ok(())
}

/// Writes until it is stopped; returns what was acknowledged. Any other response must be a 503
/// problem.
async fn write_until(
    api: &Api,
    session: &Created,
    stopped: tokio::sync::watch::Receiver<()>,
) -> Result<Vec<MessagePosted>> {
    let mut acknowledged = Vec::<MessagePosted>::new();
    while !stopped.has_changed()? {
        let text = format!("message {}", acknowledged.len());
        let posted =
            api.post(&format!("{}/messages", session.path()), &json!({"message": text})).await?;
        match posted.status {
            201 => acknowledged.push(posted.json()),
            _ => drop(posted.problem(ErrorCode::SessionStoreUnavailable)),
        }
    }
    Ok(acknowledged)
}

async fn history(api: &Api, session: &Created) -> Result<Vec<(MessageId, String)>> {
    let mut messages = Vec::new();
    let mut cursor = String::new();
    loop {
        let response = api.get(&format!("{}/history?limit=200{cursor}", session.path())).await?;
        ensure!(response.status == 200, "{response}");
        let page: HistoryPage = response.json();
        messages
            .extend(page.messages.into_iter().map(|message| (message.message_id, message.message)));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(messages),
        }
    }
}

#[tokio::test]
async fn without_postgresql_only_requests_that_need_it_fail() -> Result<()> {
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let pids = pids(&stack, "state")?;
    let instance = Api::on_instance(&stack, "stateless-1")?;
    assert_eq!(instance.get("/readyz").await?.status, 200);
    stack.kill("postgres").await?;

    let without_database = async || {
        assert_eq!(api.get("/api/v1/stateless/info").await?.status, 200);
        assert_eq!(api.get("/api/v1/stateless/random").await?.status, 200);
        let sum = json!({"operation": "add", "operands": [1, 2]});
        assert_eq!(api.post("/api/v1/stateless/calculate", &sum).await?.status, 200);
        let session = api.create().await?;
        let posted = api
            .post(&format!("{}/messages", session.path()), &json!({"message": "still here"}))
            .await?;
        assert_eq!(posted.status, 201, "{posted}");
        anyhow::Ok(())
    };
    without_database().await?;
    // Pages that no cache has yet.
    for limit in 1..=4 {
        let refused = api.get(&format!("/api/v1/stateless/products?limit={limit}")).await?;
        refused.problem(ErrorCode::DatabaseUnavailable);
    }
    api.get("/api/v1/stateless/products/p001").await?.problem(ErrorCode::DatabaseUnavailable);
    until("readyz is 503", || not_ready(&instance)).await?;
    observe_healthy(&stack).await?;
    without_database().await?;

    stack.start_component("postgres").await?;
    until("readyz is 200 again", || ready(&instance)).await?;
    // Each instance reconnects by itself.
    for name in ["stateless-1", "stateless-2"] {
        let instance = Api::on_instance(&stack, name)?;
        until("products are back", || async {
            let response = instance.get("/api/v1/stateless/products?limit=1").await?;
            if response.status != 200 {
                response.problem(ErrorCode::DatabaseUnavailable);
            }
            Ok((response.status == 200).then_some(()))
        })
        .await?;
    }
    assert_eq!(self::pids(&stack, "state")?, pids, "nothing was restarted");
    stack.shutdown().await;
    Ok(())
}

/// `Some` when status and document of readyz report one dependency as down.
async fn not_ready(instance: &Api) -> Result<Option<()>> {
    let (response, readiness) = readiness(instance).await?;
    if readiness.status == Status::Up {
        return Ok(None);
    }
    ensure!(response.status == 503 && readiness.status == Status::Down, "{response}");
    let down: Vec<_> = readiness
        .dependencies
        .values()
        .filter(|dependency| dependency.status == Status::Down)
        .collect();
    ensure!(down.len() == 1 && down[0].detail.is_some(), "{response}");
    Ok(Some(()))
}

async fn ready(instance: &Api) -> Result<Option<()>> {
    let (response, readiness) = readiness(instance).await?;
    ensure!((response.status == 200) == (readiness.status == Status::Up), "{response}");
    Ok((response.status == 200).then_some(()))
}

async fn readiness(instance: &Api) -> Result<(Response, Readiness)> {
    let response = instance.get("/readyz").await?;
    let readiness = response.json();
    Ok((response, readiness))
}

/// Checks that all instances stay healthy at the gateway, for longer than it would take to mark one
/// unhealthy.
async fn observe_healthy(stack: &Stack) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < OBSERVED {
        for pool in stack.control().pools().await? {
            let unhealthy =
                pool.instances.iter().find(|instance| instance.state != InstanceState::Healthy);
            ensure!(unhealthy.is_none(), "{unhealthy:?}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The process ids of all instances with this name prefix.
fn pids(stack: &Stack, prefix: &str) -> Result<BTreeMap<String, u32>> {
    let parts = stack.status().into_iter().filter(|part| part.name.starts_with(prefix));
    parts
        .map(|part| {
            Ok((part.name.clone(), part.pid.with_context(|| format!("{} is gone", part.name))?))
        })
        .collect()
}
