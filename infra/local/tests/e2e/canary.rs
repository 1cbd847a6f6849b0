//! A release that fails is put back by `gateway ctl canary`, under the load of real clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use local_stack::{Builds, Stack};
use proto_contracts::PoolName;
use proto_contracts::control::Pool;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::{during, small_stack};

/// Two minutes of 200 requests/s.
const WITHIN: u64 = 120 * 200;
/// One request in so many fails.
const FAILS_ONE_IN: u64 = 50;

/// A release that fails: a proxy in front of a real instance that responds 500 to one request in
/// fifty, which the instance does not get. Health checks pass.
struct Failing {
    addr: SocketAddr,
    requests: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Failing {
    async fn before(instance: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let requests = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&requests);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks concerns itself alone.
                connections.spawn(serve(client, instance, Arc::clone(&counter)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, requests, listening })
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One request after the other. All of those of the load, and their responses, have a length, or are
/// the last ones of their connection.
async fn serve(
    client: TcpStream,
    instance: SocketAddr,
    requests: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut upstream = BufReader::new(TcpStream::connect(instance).await?);
    loop {
        let request = read(&mut client).await?;
        let is_check = [b"GET /health".as_slice(), b"GET /readyz", b"PUT /internal"]
            .iter()
            .any(|beginning| request.bytes.starts_with(beginning));
        let number = if is_check { 1 } else { requests.fetch_add(1, Ordering::SeqCst) + 1 };
        if number.is_multiple_of(FAILS_ONE_IN) {
            let failure = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
            client.write_all(failure.as_bytes()).await?;
            continue;
        }
        upstream.write_all(&request.bytes).await?;
        let response = read(&mut upstream).await?;
        client.write_all(&response.bytes).await?;
        if !response.has_length {
            // A stream: bytes until either side ends.
            tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
            return Ok(());
        }
    }
}

struct Message {
    bytes: Vec<u8>,
    has_length: bool,
}

/// A header, and as much body as it declares.
async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Message> {
    let (mut bytes, mut length) = (Vec::new(), None);
    loop {
        let begin = bytes.len();
        if from.read_until(b'\n', &mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&bytes[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
        if line == "\r\n" {
            break;
        }
    }
    let is_bodiless = bytes.starts_with(b"HTTP/1.1 204") || bytes.starts_with(b"HTTP/1.1 304");
    let is_request = !bytes.starts_with(b"HTTP/");
    from.take(length.unwrap_or_default()).read_to_end(&mut bytes).await?;
    Ok(Message { bytes, has_length: length.is_some() || is_request || is_bodiless })
}

/// Runs `gateway ctl canary` under load. Returns the load's report and the command's.
async fn trial(
    stack: &Stack,
    pool: PoolName,
    canary: SocketAddr,
    options: &[&str],
) -> Result<(Value, Value)> {
    let builds = Builds::beside_current_exe()?;
    let folder = tempfile::tempdir()?;
    let (report, said) = (folder.path().join("load.json"), folder.path().join("canary.json"));
    let control = stack.urls().control;
    let (gateway, canary) = (builds.binary("gateway")?, canary.to_string());
    let mut load = during::load(stack, &report)?;
    load.args(["--settle", "1s", "--streams", "2"])
        // The shell keeps the command's own output.
        .args(["--", "sh", "-c", "out=$1; shift; exec \"$@\" >\"$out\""])
        .arg("sh")
        .arg(&said)
        .arg(gateway)
        .args(["ctl", "--json", "--control", &control, "canary", pool.as_str(), &canary])
        .args(options)
        .env("CONTROL_TOKEN", stack.control_token().expose_secret());
    let output: Output = load.output().await?;
    let read = |path| -> Result<Value> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{output:?}"))?;
        serde_json::from_str(&text).with_context(|| format!("{text}: {output:?}"))
    };
    Ok((read(&report)?, read(&said)?))
}

async fn pool(stack: &Stack, name: PoolName) -> Result<Pool> {
    Ok(stack.control().pool(name).await?)
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} is no count"))
}

/// Takes the last instance out of its pool, so that it can be a canary.
async fn apart(stack: &Stack, pool: PoolName, name: &str) -> Result<SocketAddr> {
    stack.control().remove(pool, name).await?;
    Ok(stack.addr_of(name)?)
}

async fn a_failing_canary_is_put_back(pool_name: PoolName) -> Result<()> {
    let stack = small_stack().without_tls().stateless(3).stateful(3).start().await?;
    let name = format!("{pool_name}-3");
    let failing = Failing::before(apart(&stack, pool_name, &name).await?).await?;
    let (load, report) = trial(&stack, pool_name, failing.addr, &[]).await?;
    eprintln!("{load}\n{report}");
    ensure!(load["exit_status"] == 1, "{load}");
    ensure!(report["outcome"] == "put_back" && report["reason"] == "errors", "{report}");
    let (all, failed) = (number(&load["requests"])?, number(&load["failed"])?);
    let injected = failing.requests() / FAILS_ONE_IN;
    ensure!(failed <= injected && failed > 0, "{failed} failed, {injected} by the canary");
    // Nothing failed but those, and no message was lost, which the load would report as such.
    let kinds = load["failed_by_kind"].as_object().context("kinds")?;
    ensure!(kinds.keys().all(|kind| kind.contains("500")), "{kinds:?}");
    ensure!(all <= WITHIN, "{all} requests, more than two minutes of them");
    ensure!(number(&report["canary"]["failed"])? <= injected, "{report}");
    let left = pool(&stack, pool_name).await?.instances.len();
    ensure!(left == 2, "{left} instances");
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_stateless_release_that_fails_one_request_in_fifty_is_put_back() -> Result<()> {
    a_failing_canary_is_put_back(PoolName::Stateless).await
}

#[tokio::test]
async fn a_stateful_release_that_fails_one_request_in_fifty_is_put_back() -> Result<()> {
    a_failing_canary_is_put_back(PoolName::Stateful).await
}

#[tokio::test]
async fn a_good_release_stays_and_nothing_fails() -> Result<()> {
    let stack = small_stack().stateless(3).stateful(3).start().await?;
    for name in PoolName::ALL {
        let canary = apart(&stack, name, &format!("{name}-3")).await?;
        let options = ["--watch", "5", "--at-most", "600", "--requests", "150"];
        let (load, report) = trial(&stack, name, canary, &options).await?;
        eprintln!("{load}\n{report}");
        ensure!(load["exit_status"] == 0 && report["outcome"] == "promoted", "{load} {report}");
        ensure!(load["failed"] == 0, "{load}");
        let instances = pool(&stack, name).await?.instances;
        ensure!(instances.len() == 3 && instances.iter().all(|one| one.lease_s.is_none()));
    }
    stack.shutdown().await;
    Ok(())
}
