//! Disks are full: that of the sessions' Redis, and that of Nginx. Each is a small file system of its own.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use local_stack::{Extent, Ports, SmallDisk, Stack};
use proto_contracts::agent::ComponentState;
use proto_contracts::stateful::HistoryPage;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::json;

use crate::answer::Answer;
use crate::api::{Api, Created};
use crate::small_stack;
use crate::until::until;

const REDIS: &str = "redis-sessions";
/// Enough for what a test writes, and quick to fill.
const MIB: u32 = 32;

async fn post(api: &Api, session: &Created, message: String) -> Result<Answer> {
    api.post(&format!("{}/messages", session.path()), &json!({ "message": message })).await
}

#[tokio::test]
async fn sessions_say_that_they_cannot_be_kept_and_stateless_calls_go_on() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("not tried: mounting a small disk takes root");
        return Ok(());
    }
    let stack = small_stack().stateful(2).small_disk(MIB).start().await?;
    let api = Api::on_gateway(&stack)?;
    let session = api.create().await?;
    let mut acknowledged = Vec::new();
    // What is left of the file's last page is room, too: some more fit in after the disk is full.
    let refused = loop {
        if acknowledged.len() == 5 {
            stack.fill_disk()?;
        }
        ensure!(acknowledged.len() < 200, "the disk is not full");
        let message = format!("m{}", acknowledged.len());
        let answer = post(&api, &session, message.clone()).await?;
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(message);
    };
    refused.problem(ErrorCode::SessionStoreUnavailable);
    for answer in join_all((0..4).map(|number| post(&api, &session, format!("meanwhile {number}")))).await {
        answer?.problem(ErrorCode::SessionStoreUnavailable);
    }
    until("Redis has ended itself", async || Ok((stack.state_of(REDIS)? == ComponentState::Died).then_some(())))
        .await?;
    for _ in 0..20 {
        let answer = api.get(Endpoint::Info.templates().canonical).await?;
        ensure!(answer.status == 200, "{answer}");
    }

    stack.free_disk()?;
    stack.start_component(REDIS).await?;
    until("sessions are written again", async || {
        Ok((post(&api, &session, "after".to_owned()).await?.status == 201).then_some(()))
    })
    .await?;
    let history = api.get(&Endpoint::History.templates().canonical.replace("{session_id}", &session.id)).await?;
    let texts: Vec<_> = history.json::<HistoryPage>().messages.into_iter().map(|message| message.message).collect();
    ensure!(texts.starts_with(&acknowledged), "{texts:?}");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn nginx_gives_up_the_disk_and_not_the_response() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("not tried: mounting a small disk takes root");
        return Ok(());
    }
    // Nginx's folder lies in the state folder where its workers can reach that.
    let state = tempfile::Builder::new().prefix("tandem-disk-").tempdir()?;
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o711))?;
    let disk = SmallDisk::mount(&state.path().join("nginx"), MIB)?;
    let stack = Stack::kept_in(state.path()).extent(Extent::Edge).ports(Ports::reserve()?).stateless(1).stateful(1);
    let stack = stack.env("stateless-svc", "WORKERS", "1").start().await?;
    let api = Api::through_nginx(&stack)?;
    disk.fill()?;
    for limit in 1..=60 {
        let answer = api.get(&format!("{}?limit={limit}", Endpoint::Products.templates().canonical)).await?;
        ensure!(answer.status == 200, "{answer}");
        let page: serde_json::Value = answer.json();
        ensure!(page.is_object(), "the whole response: {page}");
    }
    // Larger than what Nginx keeps in memory by default.
    let operands = vec![1; 100_000];
    let body = serde_json::json!({"operation": "add", "operands": operands});
    let answer = api.post(Endpoint::Calculate.templates().canonical, &body).await?;
    ensure!(answer.status != 500, "{answer}");
    stack.shutdown().await;
    Ok(())
}
