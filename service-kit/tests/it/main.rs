//! The server over real sockets, with handlers that misbehave.

mod fetched_keys;
mod tls;
mod token_types;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use proto_contracts::{ErrorCode, Problem};
use service_kit::config::{Env, ServiceConfig};
use service_kit::health::{HealthBuilder, Need};
use service_kit::problem::ApiError;
use service_kit::server::Server;
use service_kit::telemetry::Metrics;
use service_kit::testing::{Response, raw, send, send_json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// `INSTANCE_TOKEN`.
const TOKEN: &str = "an-instance-token";

/// A running server, and control over its `/slow` handler.
struct App {
    addr: SocketAddr,
    /// Notified when `/slow` is called.
    reached: Arc<Notify>,
    /// Lets `/slow` finish.
    go_on: Arc<Notify>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

fn spawn_app() -> App {
    let env = Env::from_pairs([
        ("WORKERS", "1"),
        ("SHUTDOWN_TIMEOUT_S", "10"),
        ("INSTANCE_TOKEN", TOKEN),
        ("DEPLOYMENT", "tests"),
        ("INSTANCE_WEIGHT", "3"),
    ]);
    let config = ServiceConfig::from_env(&env, "test-svc", "127.0.0.1:0", "test-1")
        .expect("a configuration");
    let health = HealthBuilder::new("test-svc", config.instance.clone())
        .dependency("database", Need::Required, || async { Err("refused".into()) })
        .report("x-live-sessions", || 7)
        .build();
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let shared = (Arc::clone(&reached), Arc::clone(&go_on));
    let server = Server::bind(
        &config,
        health,
        Metrics::new("test-svc", &config.instance).expect("metrics"),
        Box::new(|_| Ok(())),
        move |api| {
            let (reached, go_on) = shared.clone();
            api.route("/panic", web::get().to(panics));
            api.route("/broken", web::get().to(breaks));
            api.route(
                "/foreign",
                web::post().to(|_: web::Json<u8>| async { HttpResponse::Ok().finish() }),
            );
            api.route(
                "/slow",
                web::get().to(move || {
                    let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
                    async move {
                        reached.notify_one();
                        go_on.notified().await;
                        HttpResponse::Ok().body("finished")
                    }
                }),
            );
        },
    )
    .expect("binds");
    let addr = server.addr();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(server.run_until(async move {
        let _either_way = stopped.await;
    }));
    App { addr, reached, go_on, stop, running }
}

async fn panics() -> HttpResponse {
    panic!("the secret is hunter2")
}

async fn breaks() -> Result<HttpResponse, ApiError> {
    Err(ApiError::internal("the secret is hunter2"))
}

fn problem(response: &Response, code: ErrorCode) -> Problem {
    let problem: Problem = response.json().unwrap_or_else(|error| panic!("{error}: {response:?}"));
    assert_eq!((response.status, problem.code), (code.status(), code), "{response:?}");
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(response.header("cache-control"), "no-store");
    assert_eq!(response.header("x-instance-id"), "test-1");
    assert_eq!(problem.request_id.expect("an id").to_string(), response.header("x-request-id"));
    problem
}

#[tokio::test]
async fn an_internal_error_is_a_500_without_details() {
    let app = spawn_app();
    for path in ["/panic", "/broken", "/panic"] {
        let response = send(app.addr, "GET", path).await.expect("a response");
        problem(&response, ErrorCode::Internal);
        assert!(!String::from_utf8_lossy(&response.body).contains("hunter2"));
    }
    let metrics = send(app.addr, "GET", "/metrics").await.expect("metrics");
    let text = String::from_utf8(metrics.body).expect("text");
    assert!(text.contains("http_server_request_duration_seconds_count"), "{text}");
    assert!(
        text.contains(r#"http_response_status_code="500",http_route="unmatched"} 3"#),
        "{text}"
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = spawn_app();
    problem(&send(app.addr, "GET", "/nothing").await.expect("a response"), ErrorCode::NotFound);
    let response = send(app.addr, "DELETE", "/health").await.expect("a response");
    assert!(problem(&response, ErrorCode::MethodNotAllowed).detail.contains("DELETE"));
    assert_eq!(response.header("allow"), "GET, HEAD, OPTIONS");
    let response = send(app.addr, "OPTIONS", "/health").await.expect("a response");
    assert_eq!((response.status, response.header("allow")), (204, "GET, HEAD, OPTIONS"));
    // The framework's own extractor would respond in plain text.
    let response = send_json(app.addr, "POST", "/foreign", "{").await.expect("a response");
    problem(&response, ErrorCode::BadRequest);
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_a_page() {
    let app = spawn_app();
    let response = send(app.addr, "GET", "/nothing").await.expect("a response");
    let kind = problem(&response, ErrorCode::NotFound).kind;
    for path in [&*kind, "/docs/errors"] {
        let page = send(app.addr, "GET", path).await.expect("a page");
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(String::from_utf8_lossy(&page.body).contains("not_found"), "{path}");
    }
    let unknown = send(app.addr, "GET", "/docs/errors/unknown").await.expect("a response");
    problem(&unknown, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_request_keeps_its_id_if_that_is_a_uuid() {
    let app = spawn_app();
    let id_of = async |id: &str| {
        let request = format!(
            "GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\nx-request-id: {id}\r\n\r\n"
        );
        raw(app.addr, request.as_bytes())
            .await
            .expect("a response")
            .header("x-request-id")
            .to_owned()
    };
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(id_of(id).await, id);
    assert_eq!(id_of("01890A5DAC96774BBCCEB302099A8057").await, id);
    for foreign in ["", "7", "<script>", &"x".repeat(4000)] {
        let made = id_of(foreign).await;
        assert!(made.len() == 36 && made != foreign, "{made}");
    }
}

#[tokio::test]
async fn health_checks_no_dependency_and_readiness_reports_each() {
    let app = spawn_app();
    let healthy = send(app.addr, "GET", "/health").await.expect("a response");
    assert_eq!((healthy.status, healthy.body.as_slice()), (200, &b"healthy"[..]));
    assert_eq!(healthy.header("x-live-sessions"), "7");
    let identity = ["x-service", "x-service-version", "x-service-protocol", "x-deployment"];
    let sent = identity.map(|name| healthy.header(name));
    assert_eq!(sent, ["test-svc", env!("CARGO_PKG_VERSION"), "1", "tests"], "for gateways");
    for path in ["/livez", "/readyz", "/metrics", "/nothing"] {
        let other = send(app.addr, "GET", path).await.expect("a response");
        assert!(
            identity.iter().all(|name| !other.headers.contains_key(*name)),
            "{path} is for clients"
        );
    }
    assert_eq!(send(app.addr, "HEAD", "/health").await.expect("a response").body, b"");
    assert_eq!(send(app.addr, "GET", "/livez").await.expect("a response").status, 200);
    let ready = send(app.addr, "GET", "/readyz").await.expect("a response");
    assert_eq!(ready.status, 503);
    let ready: serde_json::Value = ready.json().expect("JSON");
    assert_eq!(ready["dependencies"]["database"]["detail"], "refused");
}

#[tokio::test]
async fn stopping_finishes_requests_in_flight_and_closes_idle_connections() {
    let app = spawn_app();
    // An idle connection that a gateway would keep for its next request.
    let idle = tokio::net::TcpStream::connect(app.addr).await.expect("connects");
    let in_flight = tokio::spawn(async move { send(app.addr, "GET", "/slow").await });
    app.reached.notified().await;
    app.stop.send(()).expect("still running");
    let refused = async {
        while send(app.addr, "GET", "/livez").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused)
        .await
        .expect("new connections are refused");
    assert!(!app.running.is_finished());
    app.go_on.notify_one();
    let response = in_flight.await.expect("no panic").expect("a response");
    assert_eq!(response.body, b"finished");
    let ended = tokio::time::timeout(Duration::from_secs(5), app.running)
        .await
        .expect("ends before its deadline");
    ended.expect("no panic").expect("a graceful stop");
    drop(idle);
}

#[tokio::test]
async fn a_weight_is_announced_and_the_later_decision_wins() {
    let app = spawn_app();
    let set = async |token: &str, weight: &str| {
        let request = format!(
            "PUT /internal/weight HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n\
             x-weight: {weight}\r\ncontent-length: 0\r\n\r\n"
        );
        raw(app.addr, request.as_bytes()).await.expect("a response")
    };
    let announced = async || {
        let healthy = send(app.addr, "GET", "/health").await.expect("a response");
        healthy.header("x-weight").to_owned()
    };
    assert_eq!(announced().await, "3; decided=0", "INSTANCE_WEIGHT");
    problem(&set("a-wrong-token-0123", "2; decided=9").await, ErrorCode::Unauthorized);
    problem(&set(TOKEN, "0; decided=9").await, ErrorCode::BadRequest);
    assert_eq!(announced().await, "3; decided=0");
    assert_eq!(set(TOKEN, "2; decided=9").await.status, 204);
    assert_eq!(announced().await, "2; decided=9");
    assert_eq!(set(TOKEN, "5; decided=8").await.status, 204);
    assert_eq!(announced().await, "2; decided=9", "the earlier decision is ignored");
}

#[tokio::test]
async fn a_drain_is_announced_in_every_health_response_until_it_ends() {
    let app = spawn_app();
    let drain = async |method: &str, token: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} /internal/drain HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        raw(app.addr, request.as_bytes()).await.expect("a response")
    };
    let announced = async || {
        let healthy = send(app.addr, "GET", "/health").await.expect("a response");
        assert_eq!(healthy.status, 200, "it still serves");
        healthy.headers.get("x-draining").cloned()
    };
    assert_eq!(announced().await, None);
    problem(&drain("PUT", "a-wrong-token-0123", "{}").await, ErrorCode::Unauthorized);
    problem(&drain("DELETE", "", "").await, ErrorCode::Unauthorized);
    // The token is checked first: without it, the body is not read.
    for body in ["{", r#"{"deadline":1}"#, r#"{"deadline_s":3601}"#, "\0"] {
        problem(&drain("PUT", "a-wrong-token-0123", body).await, ErrorCode::Unauthorized);
    }
    let unsent = b"PUT /internal/drain HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n";
    problem(
        &raw(app.addr, unsent).await.expect("a response before the body"),
        ErrorCode::Unauthorized,
    );
    problem(&drain("PUT", TOKEN, r#"{"deadline_s":3601}"#).await, ErrorCode::InvalidBody);
    problem(&drain("PUT", TOKEN, r#"{"deadline":1}"#).await, ErrorCode::InvalidBody);
    assert_eq!(announced().await, None, "none of these drained it");

    assert_eq!(drain("PUT", TOKEN, r#"{"deadline_s":900}"#).await.status, 204);
    let left: u64 = announced().await.expect("announced").parse().expect("a number");
    assert!((600..=900).contains(&left), "{left}");
    assert_eq!(drain("PUT", TOKEN, r#"{"deadline_s":0}"#).await.status, 204);
    assert_eq!(announced().await.as_deref(), Some("0"), "the deadline may be brought forward");
    assert_eq!(drain("PUT", TOKEN, r#"{"deadline_s":900}"#).await.status, 204);
    assert_eq!(announced().await.as_deref(), Some("0"), "a finished drain is not revived");
    let ready: serde_json::Value =
        send(app.addr, "GET", "/readyz").await.expect("a response").json().expect("JSON");
    assert_eq!(ready["status"], "draining");
    assert_eq!(drain("DELETE", TOKEN, "").await.status, 204);
    assert_eq!(announced().await, None);
}

#[tokio::test]
async fn a_request_whose_client_disconnects_is_finished() {
    let app = spawn_app();
    let mut client = TcpStream::connect(app.addr).await.expect("a connection");
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("sent");
    app.reached.notified().await;
    drop(client);
    let metrics = async || {
        let body = send(app.addr, "GET", "/metrics").await.expect("a response").body;
        String::from_utf8_lossy(&body).into_owned()
    };
    // By then the server has noticed the end of the connection: it has one worker.
    metrics().await;
    app.go_on.notify_one();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = metrics().await;
        let is_finished =
            |line: &&str| line.contains("_count{") && line.contains("http_route=\"unmatched\"");
        if text.lines().filter(is_finished).any(|line| line.contains("\"200\"")) {
            return;
        }
        assert!(Instant::now() < deadline, "it was cancelled: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
