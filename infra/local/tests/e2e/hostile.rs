//! Bad input by both doors: each is refused with a 4xx problem document, nothing is logged above `warn`, nothing
//! restarts, and no session's id gets into a log.

mod bytes;
mod requests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use local_stack::{Stack, Store};
use serde_json::json;

use crate::api::{Api, CONVERSATIONS, Created};
use crate::raw::Door;
use crate::{logs, small_stack};

#[tokio::test]
async fn bad_input_is_refused_and_leaves_no_trace_above_warn() -> Result<()> {
    let stack = small_stack().store(Store::Hybrid).with_nginx().start().await?;
    let (pids, before) = (pids(&stack)?, logs::all(&stack)?);
    let mut sessions = Vec::new();
    for (door, api) in [(Door::Gateway, Api::on_gateway(&stack)?), (Door::Nginx, Api::through_nginx(&stack)?)] {
        let session = api.create().await?;
        let ids = requests::refused_requests(&api, &session).await?;
        requests::ignored_headers(&api, door, &session).await?;
        bytes::refused_bytes(&stack, door).await?;
        use_properly(&api, &session).await?;
        sessions.push(session.id);
        sessions.extend(ids);
    }
    bytes::plain_http_on_the_tls_port(&stack).await?;

    assert_eq!(self::pids(&stack)?, pids, "something was restarted");
    settle(&stack).await?;
    logs::nothing_above_warn_since(&before, &stack)?;
    for (file, text) in logs::all(&stack)? {
        for id in &sessions {
            // The second half is the secret; the first is the affinity key, which logs do show.
            let secret = id.get(9..).context("an id")?;
            ensure!(!text.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{file} holds the id {id}");
        }
    }
    stack.shutdown().await;
    Ok(())
}

/// The session works after all that, and its id has passed through every kind of call.
async fn use_properly(api: &Api, session: &Created) -> Result<()> {
    let posted = api.post(CONVERSATIONS, &json!({"session_id": session.id, "message": "hello"})).await?;
    ensure!(posted.status == 201, "{posted}");
    let posted = api.post(&format!("{}/messages", session.path()), &json!({"message": "again"})).await?;
    ensure!(posted.status == 201, "{posted}");
    for path in [session.path(), format!("{}/history?limit=1", session.path())] {
        let read = api.get(&path).await?;
        ensure!(read.status == 200, "{read}");
    }
    Ok(())
}

/// Waits until the logs tell of a last request by each way, and so of all before it.
async fn settle(stack: &Stack) -> Result<()> {
    for path in ["/api/v1/stateless/info", "/api/v1/stateful/conversations"] {
        let answer = Api::through_nginx(stack)?.get(path).await?;
        let id = answer.request_id().to_string();
        let service = format!("{}.log", answer.served_by());
        for file in ["nginx-access.log", "gateway.log", &service] {
            logs::await_line(stack, file, &id).await?;
        }
    }
    Ok(())
}

fn pids(stack: &Stack) -> Result<BTreeMap<String, u32>> {
    let status = stack.status().into_iter();
    status.map(|part| Ok((part.name.clone(), part.pid.with_context(|| format!("{} is gone", part.name))?))).collect()
}
