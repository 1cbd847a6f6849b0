//! The real service over real sockets, with both databases unreachable: only requests that need
//! them fail. The end-to-end tests of the local stack cover it with databases.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::api::Operation;
use proto_contracts::health::{Readiness, Status};
use proto_contracts::openapi::{Caller, Method};
use proto_contracts::stateless::{CalculateResponse, Info, RandomResponse};
use proto_contracts::{Endpoint, ErrorCode, PoolName, Problem, routes};
use service_kit::config::Env;
use service_kit::testing::{Response, raw, send, send_json};
use stateless_svc::Config;

mod hostile;
mod migrations;
mod paths;
mod texts;

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
    let server =
        stateless_svc::build(Config::from_env(&env).expect("a configuration")).expect("builds");
    let addr = server.addr();
    tokio::spawn(server.run_until(std::future::pending()));
    addr
}

/// Asserts a problem document and returns it.
fn problem(response: &Response, code: ErrorCode) -> Problem {
    let problem: Problem = response.json().unwrap_or_else(|error| panic!("{error}: {response:?}"));
    assert_eq!((response.status, problem.code), (code.status(), code), "{problem:?}");
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(response.header("x-instance-id"), "stateless-7");
    assert_eq!(problem.request_id.expect("an id").to_string(), response.header("x-request-id"));
    problem
}

/// A path with its parameters filled in.
fn target_of(template: &str) -> String {
    let filled = template.replace("{product_id}", "p001").replace("{user_id}", "ada");
    filled.replace("{file_id}", "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d")
}

/// Both paths of an endpoint.
fn paths(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let templates = endpoint.templates();
    [Some(templates.canonical), templates.legacy].into_iter().flatten()
}

#[tokio::test]
async fn canonical_and_legacy_paths_respond_alike() {
    let addr = spawn_app();
    for path in paths(Endpoint::Info) {
        let response = send(addr, "GET", path).await.expect("a response");
        let info: Info = response.json().expect("info");
        assert_eq!(
            (info.service.as_str(), info.instance.as_str()),
            ("stateless-svc", "stateless-7")
        );
        assert_eq!(response.header("cache-control"), "no-store");
        assert_eq!(response.header("content-type"), "application/json");
    }
    for path in paths(Endpoint::Calculate) {
        let response = send_json(addr, "POST", path, r#"{"operation":"divide","operands":[9,2]}"#)
            .await
            .expect("a response");
        assert_eq!(response.json::<CalculateResponse>().expect("a result").result, 4.5);
        for without_operands in
            [send_json(addr, "POST", path, "{}").await, send(addr, "POST", path).await]
        {
            let response = without_operands.expect("a response");
            assert_eq!((response.status, response.header("cache-control")), (200, "no-store"));
            assert_eq!(response.json::<CalculateResponse>().expect("a result").result, 0.0);
        }
    }
    for path in paths(Endpoint::Random) {
        let response =
            send(addr, "GET", &format!("{path}?min=-3&max=-1&count=50")).await.expect("a response");
        let drawn: RandomResponse = response.json().expect("numbers");
        assert_eq!(drawn.values.len(), 50);
        assert!(drawn.values.iter().all(|value| (-3..=-1).contains(value)));
        assert_eq!(response.header("cache-control"), "no-store");
        assert_eq!(send(addr, "HEAD", path).await.expect("a response").status, 200);
    }
}

#[tokio::test]
async fn only_legacy_paths_are_deprecated_whatever_their_status() {
    let addr = spawn_app();
    for endpoint in [Endpoint::Info, Endpoint::Calculate, Endpoint::Random, Endpoint::Products] {
        for path in paths(endpoint) {
            let response = send(addr, "GET", path).await.expect("a response");
            if routes::resolve(path).is_some_and(|resolved| resolved.is_legacy) {
                assert_eq!(response.header("deprecation"), "@1770249600");
                let link =
                    format!("<{}>; rel=\"successor-version\"", endpoint.templates().canonical);
                assert_eq!(response.header("link"), link);
            } else {
                assert_eq!((response.header("deprecation"), response.header("link")), ("", ""));
            }
        }
    }
}

#[tokio::test]
async fn legacy_paths_ignore_unknown_fields_and_the_content_type() {
    let addr = spawn_app();
    let send = async |path: &str| {
        let body = r#"{"operands":[1,2],"note":"as the legacy API did"}"#;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        raw(addr, request.as_bytes()).await.expect("a response")
    };
    assert_eq!(send("/api/stateless/calculate").await.status, 200);
    problem(&send("/api/v1/stateless/calculate").await, ErrorCode::UnsupportedMediaType);
    let path = "/api/v1/stateless/calculate";
    let strict = send_json(addr, "POST", path, r#"{"note":1}"#).await.expect("a response");
    assert!(problem(&strict, ErrorCode::InvalidBody).detail.contains("`/note`"));
}

#[tokio::test]
async fn without_databases_only_requests_that_need_them_fail() {
    let addr = spawn_app();
    let metrics = async || {
        let metrics = send(addr, "GET", "/metrics").await.expect("metrics");
        String::from_utf8(metrics.body).expect("text")
    };
    let counted = r#"cache_requests_total{outcome="error"} 1"#;
    let page = send(addr, "GET", "/api/v1/stateless/products");
    // Both wait for PostgreSQL. By the time of this one, the cache has failed and is bypassed.
    let product = async {
        let start = Instant::now();
        while !metrics().await.contains(counted) {
            assert!(start.elapsed() < Duration::from_secs(5), "no cache lookup was counted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        send(addr, "GET", "/api/v1/stateless/products/p001").await
    };
    let (page, product) = tokio::join!(page, product);
    for response in [page, product] {
        let response = response.expect("a response");
        problem(&response, ErrorCode::DatabaseUnavailable);
        assert_eq!(
            (response.header("retry-after"), response.header("cache-control")),
            ("1", "no-store")
        );
    }
    let response = send(addr, "GET", "/readyz").await.expect("a response");
    assert_eq!(response.status, 503);
    let ready: Readiness = response.json().expect("readiness");
    assert_eq!(ready.dependencies["postgres"].status, Status::Down);
    assert_eq!(ready.dependencies["redis"].status, Status::Down);
    assert!(!String::from_utf8_lossy(&response.body).contains("hunter2"));
    assert_eq!(send(addr, "GET", "/health").await.expect("a response").status, 200);
    assert_eq!(send(addr, "GET", "/api/v1/stateless/info").await.expect("a response").status, 200);
    let text = metrics().await;
    assert!(text.contains(counted), "{text}");
    assert!(text.contains(r#"http_route="/api/v1/stateless/products/{product_id}"} 1"#), "{text}");
}

#[tokio::test]
async fn every_endpoint_of_the_pool_is_mounted_and_rejects_other_methods() {
    let addr = spawn_app();
    let mine = |path: &&str| {
        routes::resolve(path).is_some_and(|resolved| resolved.pool == PoolName::Stateless)
    };
    for path in Endpoint::ALL.iter().copied().flat_map(paths).filter(mine) {
        let response = send(addr, "PUT", &target_of(path)).await.expect("a response");
        problem(&response, ErrorCode::MethodNotAllowed);
        let endpoint = routes::resolve(path).expect("a path of ours").endpoint;
        let methods = endpoint.operations().iter().map(|operation| match operation.method {
            Method::Get => "GET, HEAD",
            method => method.as_str(),
        });
        let allowed = methods.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
        let is_post = allowed.starts_with("POST");
        assert_eq!(response.header("allow"), allowed, "{path}");

        let target = target_of(path);
        let options = send(addr, "OPTIONS", &target).await.expect("a response");
        assert_eq!((options.status, options.header("allow")), (204, allowed.as_str()), "{path}");
        assert_eq!(options.body.len(), 0);

        let needs_token =
            |operation: &&Operation| matches!(operation.details.caller, Caller::User(_));
        let operations = endpoint.operations();
        for operation in operations.iter().filter(needs_token) {
            let response = send(addr, operation.method.as_str(), &target).await;
            problem(&response.expect("a response"), ErrorCode::Unauthorized);
        }
        let is_open = |method: Method| {
            operations.iter().any(|one| one.method == method && !needs_token(&one))
        };
        if !is_open(if is_post { Method::Post } else { Method::Get }) {
            continue;
        }
        // A path without parameters rejects one as any other path does.
        let method = if is_post { "POST" } else { "GET" };
        let target = format!("{target}?no_parameter=1");
        let response = send(addr, method, &target).await.expect("a response");
        if routes::resolve(path).is_some_and(|resolved| resolved.is_legacy) {
            assert_eq!(response.status, 200, "{path}");
        } else {
            let problem = problem(&response, ErrorCode::InvalidQuery);
            assert_eq!(problem.errors[0].parameter.as_deref(), Some("no_parameter"), "{path}");
        }
    }
}
