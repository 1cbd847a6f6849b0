//! Repeated kills of instances while sessions are in use: no read fails, and none is stale.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use proto_contracts::Endpoint;
use proto_contracts::headers::IDEMPOTENCY_KEY;
use proto_contracts::stateful::{HistoryPage, Session};
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, Created};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const SESSIONS: usize = 500;
const KILLS: u64 = 10;
const AT_ONCE: usize = 24;

/// Posts a message, and retries it under its key until it is acknowledged.
async fn post(api: &Api, session: &Created, number: u64) -> Result<()> {
    let path = format!("{}/messages", session.path());
    let key = format!("{:032x}", u128::from(number));
    until("a message is acknowledged", || async {
        let request = api.request(Method::POST, &path).header(IDEMPOTENCY_KEY, &key);
        let response = Response::to(request.json(&json!({"message": format!("m{number}")}))).await;
        // Its connection may break with the instance; then the outcome is unknown, and it is
        // retried.
        let Ok(response) = response else { return Ok(None) };
        ensure!(matches!(response.status, 201 | 502 | 503), "{response}");
        Ok((response.status == 201).then_some(()))
    })
    .await
}

/// Reads the session and its history once, and checks the number of messages.
async fn is_complete(api: &Api, session: &Created, messages: u64) -> Result<()> {
    let read = api.get(&session.path()).await.context("a read lost its connection")?;
    ensure!(read.status == 200, "a read failed: {read}");
    let state: Session = read.json();
    ensure!((state.message_count, state.version) == (messages, messages + 1), "{read}");
    let path = Endpoint::History.templates().canonical.replace("{session_id}", &session.id);
    let read = api.get(&path).await.context("a read lost its connection")?;
    ensure!(read.status == 200, "a read failed: {read}");
    let texts: Vec<_> =
        read.json::<HistoryPage>().messages.into_iter().map(|message| message.message).collect();
    let expected: Vec<_> = (1..=messages).map(|number| format!("m{number}")).collect();
    ensure!(texts == expected, "{read}");
    Ok(())
}

#[tokio::test]
async fn ten_kills_fail_no_read_of_500_sessions() -> Result<()> {
    let stack = small_stack().start().await?;
    let api = Api::on_gateway(&stack)?;
    let sessions: Vec<Created> = stream::iter(0..SESSIONS)
        .map(|_| api.create())
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for kill in 1..=KILLS {
        let victim = format!("stateful-{}", kill % 3 + 1);
        let posted = AtomicUsize::new(0);
        let posts =
            stream::iter(&sessions).map(Ok).try_for_each_concurrent(AT_ONCE, |session| async {
                post(&api, session, kill).await?;
                posted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, anyhow::Error>(())
            });
        let killed = async {
            let under_way =
                || async { Ok((posted.load(Ordering::Relaxed) > SESSIONS / 3).then_some(())) };
            until("some posts are done", under_way).await?;
            Ok(stack.kill(&victim).await?)
        };
        tokio::try_join!(posts, killed)?;
        let reads = stream::iter(&sessions).map(Ok);
        reads.try_for_each_concurrent(AT_ONCE, |session| is_complete(&api, session, kill)).await?;
        stack.start_component(&victim).await?;
    }
    stack.shutdown().await;
    Ok(())
}
