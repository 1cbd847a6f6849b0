//! The data servers alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_stack::{Extent, Ports, Stack, StackError, Topology};
use proto_contracts::agent::ComponentState;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends inline commands to a Redis and returns all replies.
async fn redis(stack: &Stack, component: &str, commands: &str) -> Result<String> {
    let mut stream = TcpStream::connect(stack.addr_of(component)?).await?;
    stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

#[tokio::test]
async fn sessions_survive_a_crash_of_redis_and_the_cache_does_not() -> Result<()> {
    let stack = Stack::for_tests().extent(Extent::Data).start().await?;
    for component in ["redis-sessions", "redis-cache"] {
        assert!(redis(&stack, component, "SET a 1").await?.starts_with("+OK"));
        stack.kill(component).await?;
        assert_eq!(stack.state_of(component)?, ComponentState::Killed);
        stack.start_component(component).await?;
    }
    assert!(redis(&stack, "redis-sessions", "GET a").await?.starts_with("$1\r\n1"));
    assert!(redis(&stack, "redis-cache", "GET a").await?.starts_with("$-1"));
    let settings =
        redis(&stack, "redis-sessions", "CONFIG GET append*\r\nCONFIG GET maxmemory-policy")
            .await?;
    assert!(settings.contains("always") && settings.contains("noeviction"), "{settings}");
    assert!(
        redis(&stack, "redis-cache", "CONFIG GET maxmemory-policy").await?.contains("allkeys-lru")
    );
    stack.shutdown().await;
    Ok(())
}

/// Tries each server of the sessions until one returns the expected reply; the others redirect.
async fn one_of(stack: &Stack, commands: &str, awaited: &str) -> Result<()> {
    let mut seen = Vec::new();
    for component in stack.status() {
        if component.name.starts_with("redis-sessions") {
            let response = redis(stack, &component.name, commands).await?;
            if response.starts_with(awaited) {
                return Ok(());
            }
            seen.push(response);
        }
    }
    anyhow::bail!("none returns {awaited:?} to {commands}: {seen:?}")
}

#[tokio::test]
async fn each_topology_finds_its_own_sessions_again() -> Result<()> {
    use Topology::{Cluster, Sentinel, Single};
    let state = tempfile::tempdir()?;
    let mut known = Vec::new();
    // Each after each of the others, on other ports.
    for topology in [Single, Sentinel, Cluster, Single, Cluster, Sentinel, Single] {
        let plan = Stack::kept_in(state.path())
            .extent(Extent::Data)
            .redis(topology)
            .ports(Ports::reserve()?);
        let stack = plan.start().await.with_context(|| format!("{topology:?} after {known:?}"))?;
        if known.contains(&topology) {
            let expected = format!("${}\r\n{}", topology.as_str().len(), topology.as_str());
            let found = one_of(&stack, "GET whose", &expected).await;
            found.with_context(|| format!("{topology:?} after {known:?}"))?;
        } else {
            // Keys of many slots: with those in its files, a cluster once never formed.
            for number in 0..20 {
                one_of(&stack, &format!("SET key{number} 1"), "+OK").await?;
            }
            one_of(&stack, &format!("SET whose {}", topology.as_str()), "+OK").await?;
        }
        known.push(topology);
        stack.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn committed_data_survives_and_the_database_role_is_no_superuser() -> Result<()> {
    let stack = Stack::for_tests().extent(Extent::Data).start().await?;
    let url = stack.database_url().expose_secret().to_owned();
    let connect = || async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        anyhow::Ok(client)
    };
    let client = connect().await?;
    client.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await?;
    let role =
        client.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).await?;
    assert!(!role.get::<_, bool>(0));

    // After a crash and after a clean stop. A start right after a kill must wait for the old
    // server.
    stack.kill("postgres").await?;
    stack.start_component("postgres").await?;
    stack.stop("postgres").await?;
    assert_eq!(stack.state_of("postgres")?, ComponentState::Stopped);
    stack.start_component("postgres").await?;
    let row = connect().await?.query_one("SELECT n FROM kept", &[]).await?;
    assert_eq!(row.get::<_, i32>(0), 7);
    Ok(())
}

#[tokio::test]
async fn concurrent_stacks_are_isolated() -> Result<()> {
    let plan = || Stack::for_tests().extent(Extent::Data).start();
    let (one, two) = tokio::try_join!(plan(), plan())?;
    redis(&one, "redis-sessions", "SET who one").await?;
    assert!(redis(&two, "redis-sessions", "GET who").await?.starts_with("$-1"));
    let folder = one.state_dir().to_owned();
    one.shutdown().await;
    assert!(!folder.exists(), "{} is left", folder.display());
    assert!(redis(&two, "redis-sessions", "PING").await?.starts_with("+PONG"));
    Ok(())
}

#[tokio::test]
async fn an_unexpected_exit_is_reported_and_nothing_restarts_silently() -> Result<()> {
    let stack = Stack::for_tests().extent(Extent::Data).start().await?;
    let _ = redis(&stack, "redis-cache", "SHUTDOWN NOSAVE").await;
    let begin = Instant::now();
    while stack.state_of("redis-cache")? != ComponentState::Died {
        ensure!(
            begin.elapsed() < Duration::from_secs(5),
            "still {}",
            stack.state_of("redis-cache")?
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = stack.status();
    let cache = status.iter().find(|component| component.name == "redis-cache").expect("listed");
    assert!(
        cache.exit.as_deref().is_some_and(|exit| exit.starts_with("exit status 0 at 20")),
        "{:?}",
        cache.exit
    );
    assert!(cache.last_lines.iter().any(|line| line.contains("bye bye")), "{:?}", cache.last_lines);
    assert_eq!(cache.pid, None);
    assert!(matches!(stack.kill("redis-cache").await, Err(StackError::WrongState { .. })));
    stack.start_component("redis-cache").await?;
    assert_eq!(stack.state_of("redis-cache")?, ComponentState::Running);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() -> Result<()> {
    let stack = Stack::for_tests().extent(Extent::Data).start().await?;
    stack.pause("redis-cache")?;
    assert_eq!(stack.state_of("redis-cache")?, ComponentState::Paused);
    let silence =
        tokio::time::timeout(Duration::from_millis(200), redis(&stack, "redis-cache", "PING"))
            .await;
    assert!(silence.is_err());
    stack.resume("redis-cache")?;
    assert!(redis(&stack, "redis-cache", "PING").await?.starts_with("+PONG"));
    // A paused one can be stopped gracefully.
    stack.pause("redis-cache")?;
    stack.stop("redis-cache").await?;
    assert_eq!(stack.state_of("redis-cache")?, ComponentState::Stopped);
    Ok(())
}

#[tokio::test]
async fn an_unknown_component_is_an_error_with_the_known_ones() -> Result<()> {
    let stack = Stack::for_tests().extent(Extent::Data).start().await?;
    let error = stack.kill("stateful-9").await.expect_err("unknown").to_string();
    assert_eq!(
        error,
        "no component is named 'stateful-9'; known: postgres, redis-sessions, redis-cache"
    );
    let error = Stack::for_tests().env("redis", "A", "b").start().await.err().expect("refused");
    assert!(matches!(error, StackError::UnknownEnvScope(_)), "{error}");
    Ok(())
}
