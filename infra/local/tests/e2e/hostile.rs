//! Bad input through Nginx and at the gateway: each is rejected with a 4xx problem document.
//! Nothing is logged above `warn`, nothing restarts, and no log contains a session id.

mod bytes;
mod requests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use local_stack::{Stack, Store};
use serde_json::json;

use crate::api::{Api, CONVERSATIONS, Created};
use crate::raw::Listener;
use crate::{logs, small_stack};

#[tokio::test]
async fn bad_input_is_rejected_and_logged_at_warn_at_most() -> Result<()> {
    let stack = small_stack().store(Store::Hybrid).with_nginx().start().await?;
    let (pids, before) = (pids(&stack)?, logs::all(&stack)?);
    let mut sessions = Vec::new();
    for (listener, api) in [
        (Listener::Gateway, Api::on_gateway(&stack)?),
        (Listener::Nginx, Api::through_nginx(&stack)?),
    ] {
        let session = api.create().await?;
        let ids = requests::rejected_requests(&api, &session).await?;
        requests::ignored_headers(&api, listener, &session).await?;
        bytes::rejected_bytes(&stack, listener).await?;
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
            // The second half is secret; the first is the affinity key, which logs contain.
            let secret = id.get(9..).context("an id")?;
            ensure!(
                !text.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()),
                "{file} contains the id {id}"
            );
        }
    }
    stack.shutdown().await;
    Ok(())
}

/// The session still works, and its id is used in every kind of request.
async fn use_properly(api: &Api, session: &Created) -> Result<()> {
    let posted =
        api.post(CONVERSATIONS, &json!({"session_id": session.id, "message": "hello"})).await?;
    ensure!(posted.status == 201, "{posted}");
    let posted =
        api.post(&format!("{}/messages", session.path()), &json!({"message": "again"})).await?;
    ensure!(posted.status == 201, "{posted}");
    for path in [session.path(), format!("{}/history?limit=1", session.path())] {
        let read = api.get(&path).await?;
        ensure!(read.status == 200, "{read}");
    }
    Ok(())
}

/// Waits until the logs contain a last request by each way, and so all before it. Of Nginx's that is
/// true for the worker that served it; the others write their batches each second, too.
async fn settle(stack: &Stack) -> Result<()> {
    for path in ["/api/v1/stateless/info", "/api/v1/stateful/conversations"] {
        let response = Api::through_nginx(stack)?.get(path).await?;
        let id = response.request_id().to_string();
        let service = format!("{}.log", response.served_by());
        for file in ["nginx-access.log", "gateway.log", &service] {
            logs::await_line(stack, file, &id).await?;
        }
    }
    Ok(())
}

fn pids(stack: &Stack) -> Result<BTreeMap<String, u32>> {
    let status = stack.status().into_iter();
    status
        .map(|part| {
            Ok((part.name.clone(), part.pid.with_context(|| format!("{} is gone", part.name))?))
        })
        .collect()
}
