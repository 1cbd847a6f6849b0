//! Two gateways behind Nginx: one may be stopped and started under load, and killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Control, Gateways, Stack};
use proto_contracts::agent::ComponentState;
use proto_contracts::control::{InstanceState, MissedGateway, Strategy};
use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, PoolName};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 8;
/// Requests between two operations, so that each meets load.
const BETWEEN: u64 = 150;

/// Clients that hold conversations through Nginx, send each request once, and record failures.
struct Load {
    served: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    clients: JoinSet<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Requests {
    /// Creates, messages without a key, and reads.
    All,
    /// Reads.
    Idempotent,
}

impl Load {
    async fn start(stack: &Stack, requests: Requests) -> Result<Self> {
        let https = stack.urls().https.context("Nginx runs")?;
        let served = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            // Each with its own connection.
            let client = stack.client()?.timeout(Duration::from_secs(30)).build()?;
            let base = format!("{https}{}", Endpoint::Sessions.templates().canonical);
            let session: Session = client.post(&base).json(&json!({})).send().await?.json().await?;
            let session = format!("{base}/{}", session.session_id.expose());
            let (served, stopped) = (Arc::clone(&served), stopped.clone());
            clients.spawn(async move {
                let mut failed = Vec::new();
                while !*stopped.borrow() {
                    let mut calls =
                        vec![client.get(&session), client.get(format!("{session}/history"))];
                    if requests == Requests::All {
                        calls.push(
                            client
                                .post(format!("{session}/messages"))
                                .json(&json!({"message": "hi"})),
                        );
                        calls.push(client.post(&base).json(&json!({})));
                    }
                    for call in calls {
                        match call.send().await {
                            Ok(response) if response.status().is_success() => {
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(response) => {
                                let what = format!(
                                    "{} {}",
                                    response.status(),
                                    response.url().path().len()
                                );
                                failed.push(format!(
                                    "{what}: {}",
                                    response.text().await.unwrap_or_default()
                                ));
                            }
                            Err(error) => failed.push(format!("{error:?}")),
                        }
                    }
                }
                failed
            });
        }
        let load = Self { served, stop, clients };
        load.wait_for_progress().await?;
        Ok(load)
    }

    /// Waits until some more requests have succeeded.
    async fn wait_for_progress(&self) -> Result<()> {
        let from = self.served.load(Ordering::Relaxed);
        let enough = async {
            while self.served.load(Ordering::Relaxed) < from + BETWEEN {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough)
            .await
            .context("no more requests succeed")
    }

    async fn end(self) -> Vec<String> {
        self.stop.send_replace(true);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

async fn start() -> Result<Stack> {
    Ok(Stack::for_tests()
        .stateless(1)
        .stateful(2)
        .with_nginx()
        .gateways(Gateways::Two)
        .start()
        .await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_is_stopped_and_started_without_a_failed_request() -> Result<()> {
    let stack = start().await?;
    let load = Load::start(&stack, Requests::All).await?;
    for gateway in ["gateway-2", "gateway"] {
        stack.stop(gateway).await?;
        assert_eq!(stack.state_of(gateway)?, ComponentState::Stopped);
        load.wait_for_progress().await?;
        stack.start_component(gateway).await?;
        load.wait_for_progress().await?;
        stack.roll(gateway).await?;
        load.wait_for_progress().await?;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    stack.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_two_fails_no_request_that_is_safe_to_retry() -> Result<()> {
    let stack = start().await?;
    let load = Load::start(&stack, Requests::Idempotent).await?;
    for gateway in ["gateway", "gateway-2"] {
        stack.kill(gateway).await?;
        load.wait_for_progress().await?;
        stack.start_component(gateway).await?;
        load.wait_for_progress().await?;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn both_gateways_have_the_current_instances() -> Result<()> {
    let stack = start().await?;
    let second = stack.urls().second.context("there are two")?;
    let second = Control::at(&second.control, stack.control_token().clone())?;
    let expect = async |count: usize| -> Result<()> {
        for control in [stack.control(), &second] {
            let pool = control.pool(PoolName::Stateful).await?;
            let healthy = pool
                .instances
                .iter()
                .filter(|instance| instance.state == InstanceState::Healthy)
                .count();
            ensure!((healthy, pool.instances.len()) == (count, count), "{pool:?}");
        }
        Ok(())
    };
    expect(2).await?;
    stack.scale(PoolName::Stateful, 3).await?;
    expect(3).await?;
    // A stopped one is synchronized when it starts.
    stack.stop("gateway-2").await?;
    stack.scale(PoolName::Stateful, 1).await?;
    stack.start_component("gateway-2").await?;
    expect(1).await?;
    let epochs = [
        stack.control().pool(PoolName::Stateful).await?.epoch,
        second.pool(PoolName::Stateful).await?.epoch,
    ];
    assert_eq!(epochs[0], epochs[1], "each key has the same home at both");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_change_is_made_at_both_gateways_or_names_the_one_that_it_missed() -> Result<()> {
    let stack = start().await?;
    let urls = stack.urls();
    let second = urls.second.context("there are two")?;
    let gateways = [&urls.control, &second.control].map(String::as_str);
    let addrs = gateways.map(|url| url.trim_start_matches("http://").to_owned());
    let [one, two] = gateways.map(|url| Control::at(url, stack.control_token().clone()));
    let (one, two) = (one?, two?);
    let strategies = async || -> Result<[Strategy; 2]> {
        let of = async |control: &Control| control.pool(PoolName::Stateful).await;
        Ok([of(&one).await?.strategy, of(&two).await?.strategy])
    };
    // From each end.
    let set = one.switch(PoolName::Stateful, Strategy::RoundRobin).await?;
    assert_eq!((set.missed, strategies().await?), (vec![], [Strategy::RoundRobin; 2]));
    let set = two.switch(PoolName::Stateful, Strategy::Sticky).await?;
    assert_eq!((set.missed, strategies().await?), (vec![], [Strategy::Sticky; 2]));
    two.remove(PoolName::Stateful, "stateful-2").await?;
    for control in [&one, &two] {
        assert_eq!(control.pool(PoolName::Stateful).await?.instances.len(), 1);
    }

    let named = |missed: &[MissedGateway], addr: &str, cause: &str| {
        let is_it = matches!(missed, [one] if one.gateway == addr && one.cause.contains(cause));
        assert!(is_it, "{missed:?} instead of {addr}: {cause}");
    };
    stack.pause("gateway-2")?;
    let set = one.switch(PoolName::Stateful, Strategy::RoundRobin).await?;
    named(&set.missed, &addrs[1], "no response within 2 s");
    let set = one.switch(PoolName::Stateful, Strategy::Sticky).await?;
    named(&set.missed, &addrs[1], "no response within 2 s");
    stack.resume("gateway-2")?;
    // It finds both changes in its queue, and its state is that of the later one.
    let set = one.switch(PoolName::Stateful, Strategy::RoundRobin).await?;
    assert_eq!((set.missed, strategies().await?), (vec![], [Strategy::RoundRobin; 2]));

    stack.stop("gateway").await?;
    let set = two.switch(PoolName::Stateful, Strategy::Sticky).await?;
    named(&set.missed, &addrs[0], "refused");
    stack.start_component("gateway").await?;
    assert_eq!(strategies().await?, [Strategy::RoundRobin, Strategy::Sticky], "by its state file");
    let set = two.switch(PoolName::Stateful, Strategy::Sticky).await?;
    assert_eq!((set.missed, strategies().await?), (vec![], [Strategy::Sticky; 2]));
    stack.shutdown().await;
    Ok(())
}
