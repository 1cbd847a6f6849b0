//! The real service over real sockets, with both databases away: what needs them says so, the rest works.
//! With databases it is tested end to end, by the local stack.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::health::{Readiness, Status};
use proto_contracts::stateless::{CalculateResponse, Info, RandomResponse};
use proto_contracts::{Endpoint, ErrorCode, PoolName, Problem, routes};
use service_kit::config::Env;
use service_kit::testing::{Answer, raw, send, send_json};
use stateless_svc::Config;

mod hostile;
mod paths;

/// Starts the service on a free port; it ends with the test's runtime.
fn spawn_app() -> SocketAddr {
    // Nothing listens on port 1.
    let env = Env::from_pairs([
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("INSTANCE_ID", "stateless-7"),
        ("WORKERS", "1"),
        ("DATABASE_URL", "postgresql://tandem:hunter2@127.0.0.1:1/tandem"),
        ("CACHE_REDIS_URL", "redis://:hunter2@127.0.0.1:1"),
    ]);
    let server = stateless_svc::build(Config::from_env(&env).expect("a configuration")).expect("builds");
    let addr = server.addr();
    tokio::spawn(server.run_until(std::future::pending()));
    addr
}

/// Asserts a problem document and returns it.
fn problem(answer: &Answer, code: ErrorCode) -> Problem {
    let problem: Problem = answer.json().unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!((answer.status, problem.code), (code.status(), code), "{problem:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-instance-id"), "stateless-7");
    assert_eq!(problem.request_id.expect("an id").to_string(), answer.header("x-request-id"));
    problem
}

/// Both paths of an endpoint.
fn paths(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let templates = endpoint.templates();
    [Some(templates.canonical), templates.phase1].into_iter().flatten()
}

#[tokio::test]
async fn canonical_and_phase1_paths_answer_alike() {
    let addr = spawn_app();
    for path in paths(Endpoint::Info) {
        let answer = send(addr, "GET", path).await.expect("an answer");
        let info: Info = answer.json().expect("info");
        assert_eq!((info.service.as_str(), info.instance.as_str()), ("stateless-svc", "stateless-7"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    for path in paths(Endpoint::Calculate) {
        let answer =
            send_json(addr, "POST", path, r#"{"operation":"divide","operands":[9,2]}"#).await.expect("an answer");
        assert_eq!(answer.json::<CalculateResponse>().expect("a result").result, 4.5);
        for nothing in [send_json(addr, "POST", path, "{}").await, send(addr, "POST", path).await] {
            let answer = nothing.expect("an answer");
            assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
            assert_eq!(answer.json::<CalculateResponse>().expect("a result").result, 0.0);
        }
    }
    for path in paths(Endpoint::Random) {
        let answer = send(addr, "GET", &format!("{path}?min=-3&max=-1&count=50")).await.expect("an answer");
        let drawn: RandomResponse = answer.json().expect("numbers");
        assert_eq!(drawn.values.len(), 50);
        assert!(drawn.values.iter().all(|value| (-3..=-1).contains(value)));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(send(addr, "HEAD", path).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn phase1_paths_alone_are_deprecated_whatever_they_answer() {
    let addr = spawn_app();
    for endpoint in [Endpoint::Info, Endpoint::Calculate, Endpoint::Random, Endpoint::Products] {
        for path in paths(endpoint) {
            let answer = send(addr, "GET", path).await.expect("an answer");
            if routes::resolve(path).is_some_and(|resolved| resolved.phase1) {
                assert_eq!(answer.header("deprecation"), "@1770249600");
                let link = format!("<{}>; rel=\"successor-version\"", endpoint.templates().canonical);
                assert_eq!(answer.header("link"), link);
            } else {
                assert_eq!((answer.header("deprecation"), answer.header("link")), ("", ""));
            }
        }
    }
}

#[tokio::test]
async fn phase1_paths_ignore_unknown_fields_and_the_content_type() {
    let addr = spawn_app();
    let send = async |path: &str| {
        let body = r#"{"operands":[1,2],"note":"as Phase 1 did"}"#;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        raw(addr, request.as_bytes()).await.expect("an answer")
    };
    assert_eq!(send("/api/stateless/calculate").await.status, 200);
    problem(&send("/api/v1/stateless/calculate").await, ErrorCode::UnsupportedMediaType);
    let path = "/api/v1/stateless/calculate";
    let strict = send_json(addr, "POST", path, r#"{"note":1}"#).await.expect("an answer");
    assert!(problem(&strict, ErrorCode::InvalidBody).detail.contains("`note`"));
}

#[tokio::test]
async fn without_databases_only_what_needs_them_fails() {
    let addr = spawn_app();
    let metrics = async || {
        let metrics = send(addr, "GET", "/metrics").await.expect("metrics");
        String::from_utf8(metrics.body).expect("text")
    };
    let counted = r#"cache_requests_total{outcome="error"} 1"#;
    let page = send(addr, "GET", "/api/v1/stateless/products");
    // Both wait for PostgreSQL. By the time of this one, the cache is known to be away and is left alone.
    let product = async {
        let start = Instant::now();
        while !metrics().await.contains(counted) {
            assert!(start.elapsed() < Duration::from_secs(5), "the cache is not asked once");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        send(addr, "GET", "/api/v1/stateless/products/p001").await
    };
    let (page, product) = tokio::join!(page, product);
    for answer in [page, product] {
        let answer = answer.expect("an answer");
        problem(&answer, ErrorCode::DatabaseUnavailable);
        assert_eq!((answer.header("retry-after"), answer.header("cache-control")), ("1", "no-store"));
    }
    let answer = send(addr, "GET", "/readyz").await.expect("an answer");
    assert_eq!(answer.status, 503);
    let ready: Readiness = answer.json().expect("readiness");
    assert_eq!(ready.dependencies["postgres"].status, Status::Down);
    assert_eq!(ready.dependencies["redis"].status, Status::Down);
    assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
    assert_eq!(send(addr, "GET", "/health").await.expect("an answer").status, 200);
    assert_eq!(send(addr, "GET", "/api/v1/stateless/info").await.expect("an answer").status, 200);
    let text = metrics().await;
    assert!(text.contains(counted), "{text}");
    assert!(text.contains(r#"http_route="/api/v1/stateless/products/{product_id}"} 1"#), "{text}");
}

#[tokio::test]
async fn every_endpoint_of_the_pool_is_mounted_and_refuses_other_methods() {
    let addr = spawn_app();
    let mine = |path: &&str| routes::resolve(path).is_some_and(|resolved| resolved.pool == PoolName::Stateless);
    for path in Endpoint::ALL.into_iter().flat_map(paths).filter(mine) {
        let answer = send(addr, "PUT", &path.replace("{product_id}", "p001")).await.expect("an answer");
        problem(&answer, ErrorCode::MethodNotAllowed);
        let allowed = if path.ends_with("calculate") { "POST" } else { "GET, HEAD" };
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}
