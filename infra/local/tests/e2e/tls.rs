//! TLS between the tiers: all connections have it, and a service that trusts another authority says
//! so.

use anyhow::{Context, Result, ensure};
use local_stack::{Extent, Plan, Stack};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use proto_contracts::Role;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use service_kit::postgres::{self, PostgresTarget};
use service_kit::tls::Trust;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::accounts::users::token_of;
use crate::accounts::{database, with_token};
use crate::api::{Api, Created};
use crate::replica::{list, next_price, standby};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

fn with_tls() -> Plan {
    small_stack().stateless(1).stateful(2).with_tls()
}

/// The clients of a Redis, by its port without TLS: how many came by TLS, and how many did not.
async fn clients_of(stack: &Stack, name: &str) -> Result<(usize, usize)> {
    let addr = stack.addr_of(name)?;
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"CLIENT LIST\r\n").await?;
    stream.shutdown().await?;
    let mut list = String::new();
    stream.read_to_string(&mut list).await?;
    let own = format!("addr={} ", stream_addr(&list)?);
    let others = list.lines().filter(|line| line.contains("addr=") && !line.contains(&own));
    let plain = format!("laddr={addr} ");
    let (plain, tls): (Vec<_>, Vec<_>) = others.partition(|line| line.contains(&plain));
    Ok((tls.len(), plain.len()))
}

/// The address of the client that asked: the one that executes `CLIENT LIST`.
fn stream_addr(list: &str) -> Result<String> {
    let own = list.lines().find(|line| line.contains("cmd=client|list")).context("this client")?;
    let addr = own.split(' ').find_map(|field| field.strip_prefix("addr="));
    addr.map(str::to_owned).context("its address")
}

/// Whether a server responds to HTTP without TLS.
async fn responds_without_tls(stack: &Stack, name: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(stack.addr_of(name)?).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut received = Vec::new();
    let _closed_or_reset = stream.read_to_end(&mut received).await;
    Ok(received.starts_with(b"HTTP"))
}

async fn post(api: &Api, session: &Created, text: &str) -> Result<Response> {
    let path = format!("{}/messages", session.path());
    let posted = api.post(&path, &json!({"message": text})).await?;
    ensure!(posted.status == 201, "{posted}");
    Ok(posted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hop_is_by_tls() -> Result<()> {
    let stack = with_tls().stateful(2).with_replica().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;

    // Each of the databases is used: PostgreSQL and its standby, both Redis.
    let admin = token_of(&stack, &api, "ada", Role::Admin).await?;
    let log = with_token(&api, Method::GET, "/api/v1/audit?limit=1", &admin).await?;
    ensure!(log.status == 200, "{log}");
    list(&api, "limit=1").await?;
    let session = api.create().await?;
    let home = post(&api, &session, "by TLS").await?.header("x-served-by").map(str::to_owned);
    let home = home.context("an instance")?;
    for text in ["again", "and again"] {
        assert_eq!(post(&api, &session, text).await?.header("x-served-by"), Some(&*home));
    }

    // No server behind Nginx serves a connection without TLS.
    for name in ["gateway", "stateless-1", "stateful-1", "stateful-2"] {
        assert!(!responds_without_tls(&stack, name).await?, "{name} responds without TLS");
    }
    let rows = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl \
                JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'stateless-svc%'";
    let primary = database(&stack).await?.query_one(rows, &[]).await?;
    let replica = standby(&stack).await?.query_one(rows, &[]).await?;
    for (server, row) in [("the primary", primary), ("the standby", replica)] {
        let (all, by_tls): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        assert!(all > 0 && all == by_tls, "{by_tls} of {all} connections to {server} are by TLS");
    }
    for name in ["redis-sessions", "redis-cache"] {
        until(&format!("{name} has a connection by TLS"), async || {
            // On a busy machine, a connection to the cache takes longer than it may, and is skipped.
            list(&api, &format!("min_price={}", next_price())).await?;
            let (by_tls, plain) = clients_of(&stack, name).await?;
            ensure!(plain == 0, "{name} has {plain} connections without TLS");
            Ok((by_tls > 0).then_some(()))
        })
        .await?;
    }

    // An instance that dies is replaced, and one that comes back gets its session again.
    stack.kill(&home).await?;
    let elsewhere = until("another instance serves", async || {
        let read = api.get(&session.path()).await?;
        Ok((read.status == 200).then(|| read.header("x-served-by").map(str::to_owned)))
    });
    assert_ne!(elsewhere.await?.as_deref(), Some(&*home));
    stack.start_component(&home).await?;
    until("it is at home again", async || {
        let read = api.get(&session.path()).await?;
        Ok((read.header("x-served-by") == Some(&*home)).then_some(()))
    })
    .await?;
    let history = api.get(&format!("{}/history", session.path())).await?;
    let text = String::from_utf8_lossy(&history.body).into_owned();
    assert!(text.contains("by TLS") && text.contains("and again"), "{history}");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_trusts_another_authority_is_not_ready_and_tells_why() -> Result<()> {
    // The authority of another stack.
    let other = Stack::for_tests().with_tls().extent(Extent::Data).start().await?;
    let plan = with_tls().extent(Extent::Services);
    let plan = plan.env("stateless-svc", "TLS_CA_FILE", other.ca_path());
    let stack = plan.env("stateful-svc", "TLS_CA_FILE", other.ca_path()).start().await?;
    let fault = "has a certificate of an authority that is not trusted here: TLS_CA_FILE must name";
    for name in ["stateless-1", "stateful-1"] {
        let instance = Api::on_instance(&stack, name)?;
        until(&format!("{name} tells why it is not ready"), async || {
            let ready = instance.get("/readyz").await?;
            ensure!(ready.status == 503, "{ready}");
            Ok(String::from_utf8_lossy(&ready.body).contains(fault).then_some(()))
        })
        .await?;
    }
    other.shutdown().await;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_without_tls_is_not_ready_at_a_postgresql_that_requires_it() -> Result<()> {
    let stack = Stack::for_tests().with_tls().extent(Extent::Data).start().await?;
    let probe = async |parameters: &str| {
        let url = format!("{}{parameters}", stack.database_url().expose_secret());
        let target = PostgresTarget::parse(&url.into(), &Trust::file(&stack.ca_path())?)?;
        anyhow::Ok(postgres::probe(target.pool("test")?).await)
    };
    ensure!(probe("").await?.is_ok() && probe("?sslmode=verify-full").await?.is_ok());

    let rules = stack.database_folder().join("pg_hba.conf");
    let encrypted = std::fs::read_to_string(&rules)?.replace("\nhost ", "\nhostssl ");
    std::fs::write(&rules, encrypted)?;
    let pid = Pid::from_raw(stack.pid_of("postgres")?.cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGHUP)?;
    let fault =
        until("a login without TLS is rejected", async || Ok(probe("").await?.err())).await?;
    assert_eq!(fault, "requires TLS: write sslmode=verify-full in its URL");
    assert_eq!(probe("?sslmode=verify-full").await?, Ok(()));
    stack.shutdown().await;
    Ok(())
}
