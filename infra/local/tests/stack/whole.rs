//! Whole systems: services, gateway, Nginx.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use local_stack::{Extent, Stack, StackError, Store};
use proto_contracts::agent::ComponentState;
use proto_contracts::control::InstanceState;
use proto_contracts::{PoolName, headers};

use crate::client_without_ca;

/// The names of a pool's healthy instances at the gateway.
async fn healthy(stack: &Stack, pool: PoolName) -> Result<BTreeSet<String>> {
    let pool = stack.control().pool(pool).await?;
    let healthy =
        pool.instances.into_iter().filter(|instance| instance.state == InstanceState::Healthy);
    Ok(healthy.filter_map(|instance| Some(instance.name?.to_string())).collect())
}

fn names(pool: &str, numbers: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| format!("{pool}-{number}")).collect()
}

#[tokio::test]
async fn a_whole_system_responds_through_nginx() -> Result<()> {
    let stack = Stack::for_tests().stateless(2).stateful(2).with_nginx().start().await?;
    let https = stack.urls().https.context("Nginx runs")?;
    let client = stack.client()?.build()?;
    let response = client.get(format!("{https}/api/v1/stateless/info")).send().await?;
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key(headers::SERVED_BY), "{:?}", response.headers());
    let response = client
        .post(format!("{https}/api/v1/stateful/sessions"))
        .json(&serde_json::json!({}))
        .send()
        .await?;
    assert_eq!(response.status(), 201);
    let products = client.get(format!("{https}/api/v1/stateless/products")).send().await?;
    assert_eq!(products.status(), 200, "PostgreSQL serves the catalogue");
    // By host name too, which the certificate contains. A client without the CA gets no response.
    let by_name = format!("https://localhost:{}/health", stack.ports().https);
    assert_eq!(client.get(&by_name).send().await?.status(), 200);
    assert!(client_without_ca()?.get(&by_name).send().await.is_err());
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn scaling_registers_at_the_gateway_and_removes_the_highest_numbers() -> Result<()> {
    let stack = Stack::for_tests().stateful(2).store(Store::Memory).start().await?;
    assert_eq!(healthy(&stack, PoolName::Stateful).await?, names("stateful", 1..=2));
    stack.scale(PoolName::Stateful, 4).await?;
    assert_eq!(healthy(&stack, PoolName::Stateful).await?, names("stateful", 1..=4));
    // A dead one belongs to the pool until it is scaled down.
    stack.kill("stateful-4").await?;
    stack.scale(PoolName::Stateful, 4).await?;
    assert_eq!(stack.state_of("stateful-4")?, ComponentState::Killed);
    stack.scale(PoolName::Stateful, 1).await?;
    assert_eq!(healthy(&stack, PoolName::Stateful).await?, names("stateful", 1..=1));
    assert_eq!(stack.control().pool(PoolName::Stateful).await?.instances.len(), 1);
    let error = stack.kill("stateful-2").await.expect_err("gone");
    assert!(matches!(error, StackError::NoSuchComponent { .. }), "{error}");
    let error = stack.scale(PoolName::Stateful, 10_000).await.expect_err("too many");
    assert!(matches!(error, StackError::TooManyInstances { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_instance_returns_under_its_name_on_another_port() -> Result<()> {
    let stack = Stack::for_tests().stateful(2).start().await?;
    let before = stack.control().pool(PoolName::Stateful).await?;
    stack.kill("stateful-2").await?;
    let port = stack.ports().spare()?;
    stack.start_on("stateful-2", port).await?;
    let after = stack.control().pool(PoolName::Stateful).await?;
    assert_eq!(before.epoch, after.epoch, "the membership is one of names");
    let addrs: BTreeSet<u16> =
        after.instances.iter().map(|instance| instance.addr.port()).collect();
    assert!(addrs.contains(&port) && addrs.len() == 2, "{after:?}");
    assert_eq!(stack.addr_of("stateful-2")?.port(), port);
    let error = stack.start_component("stateful-2").await.expect_err("it runs").to_string();
    assert_eq!(error, "stateful-2 is running");
    Ok(())
}

#[tokio::test]
async fn a_restarted_gateway_has_the_current_instances() -> Result<()> {
    let stack = Stack::for_tests().stateful(2).start().await?;
    stack.scale(PoolName::Stateful, 3).await?;
    stack.kill("gateway").await?;
    stack.start_component("gateway").await?;
    assert_eq!(healthy(&stack, PoolName::Stateful).await?, names("stateful", 1..=3));

    // While the gateway is down, a removed instance returns and another moves.
    stack.scale(PoolName::Stateful, 1).await?;
    stack.kill("gateway").await?;
    stack.scale(PoolName::Stateful, 2).await?;
    stack.kill("stateful-1").await?;
    stack.start_on("stateful-1", stack.ports().spare()?).await?;
    stack.start_component("gateway").await?;
    assert_eq!(healthy(&stack, PoolName::Stateful).await?, names("stateful", 1..=2));
    assert_eq!(stack.control().pool(PoolName::Stateful).await?.instances.len(), 2);
    // No instance is removed while the gateway is down.
    stack.kill("gateway").await?;
    assert!(matches!(stack.scale(PoolName::Stateful, 1).await, Err(StackError::Control(_))));
    assert_eq!(stack.state_of("stateful-2")?, ComponentState::Running);
    Ok(())
}

#[tokio::test]
async fn a_service_that_cannot_start_is_reported_with_its_log() -> Result<()> {
    let plan = Stack::for_tests().extent(Extent::Services).stateful(1).stateless(0);
    let error = plan
        .env("stateful-1", "SESSION_STORE", "nonsense")
        .start()
        .await
        .err()
        .context("it must fail")?;
    assert!(matches!(error, StackError::Died { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("stateful-1 ended while starting (exit status 64)"), "{text}");
    assert!(text.contains("SESSION_STORE") && text.contains("stateful-1.log"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_access_log_is_rotated_while_nginx_writes_it() -> Result<()> {
    let stack = Stack::for_tests().stateful(1).with_nginx().start().await?;
    let log = stack.log_path("nginx")?.with_file_name("nginx-access.log");
    // As after hours of load. The file is sparse.
    let grown = (64 << 20) + 1;
    std::fs::OpenOptions::new().write(true).open(&log)?.set_len(grown)?;
    let begin = std::time::Instant::now();
    while std::fs::metadata(&log)?.len() >= grown {
        anyhow::ensure!(begin.elapsed() < std::time::Duration::from_secs(60), "it is not rotated");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(log.with_extension("log.1").is_file());
    let client = stack.client()?.build()?;
    let url = format!("{}/api/v1/stateless/info", stack.urls().https.context("Nginx runs")?);
    let id = client.get(url).send().await?.headers()[headers::REQUEST_ID].to_str()?.to_owned();
    while !std::fs::read_to_string(&log)?.contains(&id) {
        anyhow::ensure!(
            begin.elapsed() < std::time::Duration::from_secs(90),
            "Nginx does not write to it"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn killing_nginx_leaves_no_worker_behind() -> Result<()> {
    let stack = Stack::for_tests().stateful(1).with_nginx().start().await?;
    let https = stack.addr_of("nginx")?;
    stack.kill("nginx").await?;
    assert!(tokio::net::TcpStream::connect(https).await.is_err(), "a worker still listens");
    stack.start_component("nginx").await?;
    stack.stop("nginx").await?;
    assert!(tokio::net::TcpStream::connect(https).await.is_err(), "a worker still listens");
    Ok(())
}
