//! Switching the strategy of a pool with live sessions.

use anyhow::{Result, ensure};
use local_stack::{Stack, Store};
use proto_contracts::control::Strategy;
use proto_contracts::headers::ROUTING_STRATEGY;
use proto_contracts::{ErrorCode, PoolName, Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, Created};
use crate::response::Response;
use crate::small_stack;

const INSTANCES: usize = 3;
const SESSIONS: usize = 40;

async fn start(store: Store) -> Result<(Stack, Api, Vec<Created>)> {
    let stack = small_stack().store(store).start().await?;
    let api = Api::on_gateway(&stack)?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(api.create().await?);
    }
    Ok((stack, api, sessions))
}

/// Reads each session once per instance and writes to each once, without an error.
async fn all_work(api: &Api, sessions: &[Created], verdict: Verdict) -> Result<()> {
    for session in sessions {
        for _ in 0..INSTANCES {
            let read = api.get(&session.path()).await?;
            ensure!(read.status == 200 && read.stamp().verdict == verdict, "{read}");
        }
        let posted =
            api.post(&format!("{}/messages", session.path()), &json!({"message": "well?"})).await?;
        ensure!(posted.status == 201 && posted.stamp().verdict == verdict, "{posted}");
    }
    Ok(())
}

#[tokio::test]
async fn sessions_in_memory_need_sticky_routing_and_come_back_with_it() -> Result<()> {
    let (stack, api, sessions) = start(Store::Memory).await?;
    all_work(&api, &sessions, Verdict::Home).await?;

    stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    let mut lost = 0;
    for session in &sessions {
        // Round robin is exact and there is no other load: of N reads, each instance serves one,
        // and only one of them has the session. So exactly 1 − 1/N of the reads fail.
        let mut found_at = Vec::new();
        for _ in 0..INSTANCES {
            let read = api.get(&session.path()).await?;
            assert_eq!(read.stamp().verdict, Verdict::Off, "{read}");
            match read.status {
                200 => found_at.push(read.served_by().to_owned()),
                _ => {
                    read.problem(ErrorCode::SessionNotFound);
                    lost += 1;
                }
            }
        }
        assert_eq!(found_at, [session.response.served_by()], "only its home has it");
    }
    assert_eq!(lost, SESSIONS * (INSTANCES - 1));

    stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    all_work(&api, &sessions, Verdict::Home).await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn sessions_in_redis_are_found_by_either_strategy() -> Result<()> {
    found_by_either_strategy(Store::Redis).await
}

#[tokio::test]
async fn sessions_in_hybrid_stores_are_found_by_either_strategy() -> Result<()> {
    found_by_either_strategy(Store::Hybrid).await
}

async fn found_by_either_strategy(store: Store) -> Result<()> {
    let (stack, api, mut sessions) = start(store).await?;
    all_work(&api, &sessions, Verdict::Home).await?;
    stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    all_work(&api, &sessions, Verdict::Off).await?;

    // Keys are minted under round robin too, so these have homes to go to when it ends.
    for _ in 0..SESSIONS {
        let created = api.create().await?;
        assert_eq!(
            created.response.stamp().key.map(|key| key.to_string()).as_deref(),
            created.id.get(..8)
        );
        created.response.cookie()?;
        sessions.push(created);
    }
    stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    all_work(&api, &sessions, Verdict::Home).await?;
    for (place, session) in sessions.iter().enumerate() {
        let history = api.get(&format!("{}/history", session.path())).await?;
        let messages = history.json::<Value>()["messages"].as_array().map(Vec::len);
        assert_eq!(messages, Some(if place < SESSIONS { 3 } else { 1 }), "{history}");
    }
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn with_the_lab_enabled_each_request_picks_its_strategy() -> Result<()> {
    let stack = small_stack().open_lab().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    for _ in 0..INSTANCES {
        for (requested, verdict) in [("sticky", Verdict::Home), ("round_robin", Verdict::Off)] {
            let request =
                api.request(Method::GET, &session.path()).header(ROUTING_STRATEGY, requested);
            let response = Response::to(request).await?;
            ensure!(
                response.status == 200 && response.stamp().verdict == verdict,
                "{requested}: {response}"
            );
        }
    }
    stack.shutdown().await;
    Ok(())
}
