//! A graceful stop leaves nothing behind that other instances wait for.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use proto_contracts::Endpoint;
use proto_contracts::stateful::Session;
use secrecy::SecretString;
use serde_json::Value;
use service_kit::redis::{RedisPool, RedisTarget, RedisTimeouts};
use service_kit::testing::{Response, raw};
use service_kit::tls::Trust;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::path;
use crate::program::Program;
use crate::redis_server::RedisServer;

/// Enough to detect a lease that is not always released.
const STOPS: usize = 8;
const CLIENTS: usize = 12;
const RELEASED: &str = "lease released";
const KEPT: &str = "not everything was released";

fn start(server: &RedisServer) -> Program {
    // Two workers, each with its own runtime for its connections.
    Program::start(&[
        ("SESSION_STORE", "hybrid"),
        ("SESSION_REDIS_URL", &server.url()),
        ("WORKERS", "2"),
    ])
}

async fn leases(server: &RedisServer) -> Vec<String> {
    let mut connection = server.connect().await.expect("a connection");
    redis::cmd("KEYS").arg("lease:*").query_async(&mut connection).await.expect("a response")
}

async fn wait_for_lease(server: &RedisServer) {
    let begin = Instant::now();
    while leases(server).await.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "no lease was taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn call(addr: SocketAddr, method: &str, path: &str, body: &str) -> Option<Response> {
    let length = body.len();
    let head = "host: test\r\nconnection: close\r\nx-session-affinity: required\r\n\
                content-type: application/json";
    let request =
        format!("{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    raw(addr, request.as_bytes()).await.ok()
}

/// Creates sessions and reads them until it is stopped, and reports how many responses there were.
async fn client(addr: SocketAddr, served: watch::Sender<u64>) -> u64 {
    let mut responses = 0;
    loop {
        let created = call(addr, "POST", "/api/v1/stateful/sessions", "{}").await;
        let Some(session) = created.and_then(|created| created.json::<Session>().ok()) else {
            return responses;
        };
        for _ in 0..3 {
            let read = call(addr, "GET", &path(Endpoint::Session, &session.session_id), "").await;
            responses += u64::from(read.is_some_and(|read| read.status == 200));
        }
        served.send_modify(|served| *served += 1);
    }
}

fn has(log: &[Value], message: &str) -> bool {
    log.iter().any(|line| line["message"] == message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_graceful_stop_under_load_releases_the_lease() {
    let server = RedisServer::start().await;
    for stop in 0..STOPS {
        let program = start(&server);
        wait_for_lease(&server).await;
        let (served, mut count) = watch::channel(0);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client(program.addr, served.clone()));
        }
        count.wait_for(|count| *count >= 3 * CLIENTS as u64).await.expect("clients");
        let log = tokio::task::spawn_blocking(|| program.stop()).await.expect("it stops");
        let responses: u64 = clients.join_all().await.into_iter().sum();
        assert!(responses > 0);
        assert_eq!(
            leases(&server).await,
            Vec::<String>::new(),
            "stop {stop} left its lease: {log:#?}"
        );
        assert!(has(&log, RELEASED) && !has(&log, KEPT), "{log:#?}");
        // In this order, each once.
        let steps: Vec<_> = log
            .iter()
            .filter_map(|line| line["message"].as_str())
            .filter(|message| ["stopping", RELEASED, "stopped"].contains(message))
            .collect();
        assert_eq!(steps, ["stopping", RELEASED, "stopped"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_cannot_be_released_is_logged_with_its_cause() {
    let mut server = RedisServer::start().await;
    let program = start(&server);
    wait_for_lease(&server).await;
    server.stop();
    let log = tokio::task::spawn_blocking(|| program.stop()).await.expect("it stops");
    let kept: Vec<_> = log.iter().filter(|line| line["message"] == KEPT).collect();
    assert_eq!(kept.len(), 1, "once: {log:#?}");
    let cause = kept[0]["cause"].as_str().expect("a cause");
    assert!(kept[0]["level"] == "WARN" && cause.starts_with("lease not released"), "{cause}");
    assert!(cause.contains("the session store is unavailable"), "{cause}");
}

/// A runtime like that of an HTTP worker.
fn worker() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn client_id(pool: &RedisPool) -> redis::RedisResult<u64> {
    let mut connection = pool.get().await.expect("a connection");
    redis::cmd("CLIENT").arg("ID").query_async(&mut *connection).await
}

fn pool(server: &RedisServer) -> RedisPool {
    let target = RedisTarget::parse(&SecretString::from(server.url()), &Trust::system())
        .expect("a Redis URL");
    target.pool(RedisTimeouts::STORE).expect("a pool")
}

#[tokio::test]
async fn a_connection_of_an_ended_runtime_is_not_reused() {
    let server = RedisServer::start().await;
    let pool = pool(&server);
    let shared = pool.clone();
    let made =
        thread::spawn(move || worker().block_on(client_id(&shared))).join().expect("a worker");
    let again = client_id(&pool).await.expect("a new connection");
    assert_ne!(made.expect("a connection"), again);
}

#[tokio::test]
async fn outdated_connections_are_not_reused() {
    let server = RedisServer::start().await;
    let pool = pool(&server);
    let before = client_id(&pool).await.expect("a connection");
    assert_eq!(client_id(&pool).await.expect("the same"), before);
    pool.outdate_connections();
    let after = client_id(&pool).await.expect("a new connection");
    assert_ne!(after, before);
    assert_eq!(client_id(&pool).await.expect("the same"), after);
}
