//! Full disks: of the sessions' Redis, and of Nginx. Each is a small separate file system.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use local_stack::{Extent, Ports, SmallDisk, Stack};
use proto_contracts::agent::ComponentState;
use proto_contracts::stateful::HistoryPage;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::json;

use crate::api::{Api, Created};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const REDIS: &str = "redis-sessions";
/// Large enough for the test's writes, and quick to fill.
const MIB: u32 = 32;

async fn post(api: &Api, session: &Created, message: String) -> Result<Response> {
    api.post(&format!("{}/messages", session.path()), &json!({ "message": message })).await
}

#[tokio::test]
async fn session_writes_fail_with_503_and_stateless_calls_succeed() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("skipped: mounting a small disk requires root");
        return Ok(());
    }
    let stack = small_stack().stateful(2).small_disk(MIB).start().await?;
    let api = Api::on_gateway(&stack)?;
    let session = api.create().await?;
    let mut acknowledged = Vec::new();
    // The file's last page has space left for some more writes.
    let refused = loop {
        if acknowledged.len() == 5 {
            stack.fill_disk()?;
        }
        ensure!(acknowledged.len() < 200, "the disk is not full");
        let message = format!("m{}", acknowledged.len());
        let response = post(&api, &session, message.clone()).await?;
        if response.status != 201 {
            break response;
        }
        acknowledged.push(message);
    };
    refused.problem(ErrorCode::SessionStoreUnavailable);
    for response in
        join_all((0..4).map(|number| post(&api, &session, format!("meanwhile {number}")))).await
    {
        response?.problem(ErrorCode::SessionStoreUnavailable);
    }
    until("Redis has exited", async || {
        Ok((stack.state_of(REDIS)? == ComponentState::Died).then_some(()))
    })
    .await?;
    for _ in 0..20 {
        let response = api.get(Endpoint::Info.templates().canonical).await?;
        ensure!(response.status == 200, "{response}");
    }

    stack.free_disk()?;
    stack.start_component(REDIS).await?;
    until("sessions are written again", async || {
        Ok((post(&api, &session, "after".to_owned()).await?.status == 201).then_some(()))
    })
    .await?;
    let history = api
        .get(&Endpoint::History.templates().canonical.replace("{session_id}", &session.id))
        .await?;
    let texts: Vec<_> =
        history.json::<HistoryPage>().messages.into_iter().map(|message| message.message).collect();
    ensure!(texts.starts_with(&acknowledged), "{texts:?}");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn nginx_serves_whole_responses_from_a_full_disk() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("skipped: mounting a small disk requires root");
        return Ok(());
    }
    // Nginx's folder is in the state folder if its workers can reach that.
    let state = tempfile::Builder::new().prefix("tandem-disk-").tempdir()?;
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o711))?;
    let disk = SmallDisk::mount(&state.path().join("nginx"), MIB)?;
    let stack = Stack::kept_in(state.path())
        .extent(Extent::Edge)
        .ports(Ports::reserve()?)
        .stateless(1)
        .stateful(1);
    let stack = stack.env("stateless-svc", "WORKERS", "1").start().await?;
    let api = Api::through_nginx(&stack)?;
    disk.fill()?;
    for limit in 1..=60 {
        let response =
            api.get(&format!("{}?limit={limit}", Endpoint::Products.templates().canonical)).await?;
        ensure!(response.status == 200, "{response}");
        let page: serde_json::Value = response.json();
        ensure!(page.is_object(), "the whole response: {page}");
    }
    // Larger than Nginx's default buffers in memory.
    let operands = vec![1; 100_000];
    let body = serde_json::json!({"operation": "add", "operands": operands});
    let response = api.post(Endpoint::Calculate.templates().canonical, &body).await?;
    ensure!(response.status != 500, "{response}");
    stack.shutdown().await;
    Ok(())
}
