//! Claims on a Redis Cluster. Both ids of a session are in one slot, and its owner's index is in
//! another, mostly at another master.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use local_stack::Topology;
use proto_contracts::stateful::{ClaimedSession, Session, SessionPage};
use proto_contracts::{ErrorCode, SessionId};
use reqwest::Method;
use serde_json::json;

use super::{register, tokens, with_token};
use crate::api::{Api, Created, SESSIONS};
use crate::small_stack;

/// Their slots are spread over the three masters.
const CLAIMED: usize = 24;

#[tokio::test]
async fn claims_and_the_index_of_a_users_sessions_hold_on_a_cluster() -> Result<()> {
    let stack = small_stack().redis(Topology::Cluster).start().await?;
    let api = Api::on_gateway(&stack)?;
    register(&api, "ada").await?;
    register(&api, "bob").await?;
    let (ada, bob) =
        (tokens(&api, "ada").await?.access_token, tokens(&api, "bob").await?.access_token);
    let mut claimed = Vec::new();
    for _ in 0..CLAIMED {
        claimed.push(claim_at_once(&api, &ada).await?);
    }
    let handles = |ids: &[SessionId]| -> BTreeSet<String> {
        ids.iter().map(|id| id.digest().to_string()).collect()
    };
    assert_eq!(listed(&api, &ada).await?, handles(&claimed));
    assert_eq!(listed(&api, &bob).await?, BTreeSet::new());

    let last = claimed.pop().context("a session")?;
    let by_handle = format!("{SESSIONS}?handle={}", last.digest());
    with_token(&api, Method::DELETE, &by_handle, &bob).await?.problem(ErrorCode::SessionNotFound);
    assert_eq!(with_token(&api, Method::DELETE, &by_handle, &ada).await?.status, 204);
    assert_eq!(listed(&api, &ada).await?, handles(&claimed));
    assert_eq!(with_token(&api, Method::DELETE, SESSIONS, &ada).await?.status, 204);
    assert_eq!(listed(&api, &ada).await?, BTreeSet::new());
    for id in claimed.iter().chain([&last]) {
        let read = with_token(&api, Method::GET, &path(id), &ada).await?;
        read.problem(ErrorCode::SessionNotFound);
    }
    stack.shutdown().await;
    Ok(())
}

/// Claims a new session by three requests at once, and returns its only id.
async fn claim_at_once(api: &Api, token: &str) -> Result<SessionId> {
    let old: SessionId = Created::by(api.request(Method::POST, SESSIONS)).await?.id.parse()?;
    let posted = api.post(&format!("{}/messages", path(&old)), &json!({"message": "hi"})).await?;
    ensure!(posted.status == 201, "{posted}");
    let target = format!("{}/claim", path(&old));
    let claim = || with_token(api, Method::POST, &target, token);
    let (first, second, third) = tokio::try_join!(claim(), claim(), claim())?;
    let mut ids = Vec::new();
    for response in [first, second, third, claim().await?] {
        ensure!(response.status == 200, "{response}");
        ids.push(response.json::<ClaimedSession>().session_id);
    }
    let new = ids.pop().context("an id")?;
    assert!(ids.iter().all(|id| *id == new), "one new id");
    assert!(new != old && new.affinity_key() == old.affinity_key());
    api.get(&path(&old)).await?.problem(ErrorCode::SessionNotFound);
    with_token(api, Method::GET, &path(&old), token).await?.problem(ErrorCode::SessionNotFound);
    api.get(&path(&new)).await?.problem(ErrorCode::SessionNotFound);
    let read = with_token(api, Method::GET, &path(&new), token).await?;
    ensure!(read.status == 200, "{read}");
    let session: Session = read.json();
    assert_eq!((session.version, session.message_count), (3, 1));
    Ok(new)
}

async fn listed(api: &Api, token: &str) -> Result<BTreeSet<String>> {
    let page = with_token(api, Method::GET, SESSIONS, token).await?;
    ensure!(page.status == 200, "{page}");
    let SessionPage { sessions, next_cursor } = page.json();
    assert_eq!(next_cursor, None);
    Ok(sessions.into_iter().map(|session| session.handle).collect())
}

fn path(id: &SessionId) -> String {
    format!("{SESSIONS}/{}", id.expose())
}
