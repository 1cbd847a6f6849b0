//! The service under test: built and served as in `main`, on a free port.

use std::net::SocketAddr;

use proto_contracts::stateful::{HistoryPage, MessagePosted, Session};
use proto_contracts::{Endpoint, ErrorCode, Problem, SessionId};
use serde_json::{Value, json};
use service_kit::config::Env;
use service_kit::testing::{Response, raw, send, send_json};
use stateful_svc::config::Config;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running service, stopped on drop.
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    _stop: oneshot::Sender<()>,
    _server: JoinHandle<()>,
}

/// Starts a service with the memory store.
pub(crate) fn spawn_app() -> App {
    spawn_with(&[("SESSION_STORE", "memory")])
}

/// Starts a service with these settings.
pub(crate) fn spawn_with(settings: &[(&str, &str)]) -> App {
    let common = [
        ("SHUTDOWN_ANNOUNCE_S", "0"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("WORKERS", "1"),
        ("SHUTDOWN_TIMEOUT_S", "1"),
    ];
    let env = Env::from_pairs(common.into_iter().chain(settings.iter().copied()));
    let server = stateful_svc::build(Config::from_env(&env).expect("settings")).expect("a server");
    let addr = server.addr();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        let stop = async {
            let _dropped = stopped.await;
        };
        server.run_until(stop).await.expect("a clean stop");
    });
    App { addr, _stop: stop, _server: server }
}

impl App {
    pub(crate) async fn get(&self, path: &str) -> Response {
        send(self.addr, "GET", path).await.expect("a response")
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        send(self.addr, "DELETE", path).await.expect("a response")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        send_json(self.addr, "POST", path, &body.to_string()).await.expect("a response")
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Response {
        send_json(self.addr, "PATCH", path, &body.to_string()).await.expect("a response")
    }

    /// Sends a request with these header lines, and with a JSON body unless it is empty.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        send_with(self.addr, method, path, headers, body).await
    }

    /// Creates a session for a client of this name.
    pub(crate) async fn create(&self, name: &str) -> Session {
        let response =
            self.post("/api/v1/stateful/sessions", &json!({"client_data": {"name": name}})).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json().expect("a session")
    }

    /// Posts a message.
    pub(crate) async fn post_message(&self, id: &SessionId, message: &str) -> MessagePosted {
        let response = self.post(&path(Endpoint::Messages, id), &json!({"message": message})).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json().expect("a posted message")
    }

    /// Reads a page of the history.
    pub(crate) async fn history(&self, id: &SessionId, query: &str) -> HistoryPage {
        let response = self.get(&format!("{}?{query}", path(Endpoint::History, id))).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json().expect("a page")
    }
}

/// Sends a request with these header lines, and with a JSON body unless it is empty.
pub(crate) async fn send_with(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    raw(addr, format!("{request}\r\n{body}").as_bytes()).await.expect("a response")
}

/// The canonical path of a session's endpoint.
pub(crate) fn path(endpoint: Endpoint, id: &SessionId) -> String {
    endpoint.templates().canonical.replace("{session_id}", &id.expose())
}

/// Asserts a problem document of this code.
#[track_caller]
pub(crate) fn assert_problem(response: &Response, code: ErrorCode) -> Problem {
    let body = String::from_utf8_lossy(&response.body);
    assert_eq!(response.status, code.status(), "{body}");
    assert_eq!(response.header("content-type"), "application/problem+json", "{body}");
    assert_eq!(response.header("cache-control"), "no-store", "{body}");
    let problem: Problem = response.json().expect("a problem document");
    assert_eq!((problem.code, problem.status), (code, code.status()), "{body}");
    assert_eq!(
        problem.request_id.map(|id| id.to_string()).as_deref(),
        Some(response.header("x-request-id"))
    );
    assert!(!problem.detail.is_empty());
    problem
}
