//! Invalid input yields a problem that names the fault. None is logged as `warn` or `error`, and no
//! id is logged.

use std::net::SocketAddr;
use std::process::Command;

use proto_contracts::stateful::{MAX_CLIENT_DATA_BYTES, MAX_MESSAGE_BYTES, Session};
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use serde_json::json;
use service_kit::testing::{Response, raw, send, send_json};

use crate::app::{assert_problem, path};
use crate::http_api::contains_secret;
use crate::program::Program;

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CONVERSATIONS: &str = "/api/v1/stateful/conversations";

#[actix_web::test]
async fn invalid_input_is_rejected_with_a_reason() {
    let program = Program::start(&[("SESSION_STORE", "memory"), ("LOG_LEVEL", "debug")]);
    let addr = program.addr;
    let created = send_json(addr, "POST", SESSIONS, r#"{"client_data":{"name":"Ada"}}"#)
        .await
        .expect("a response");
    let id = created.json::<Session>().expect("a session").session_id;
    let (session, messages) = (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));

    bad_bodies(addr, &session, &messages, &id).await;
    bad_sizes(addr, &session, &messages).await;
    bad_targets(addr, &id).await;
    bad_framing(addr, &messages).await;

    let unharmed: Session =
        send(addr, "GET", &session).await.expect("a response").json().expect("a session");
    assert_eq!((unharmed.version, unharmed.message_count), (1, 0), "none of it had an effect");

    let metrics = String::from_utf8(send(addr, "GET", "/metrics").await.expect("a response").body)
        .expect("text");
    assert!(!contains_secret(&metrics, &id) && !metrics.contains(WELL_FORMED), "{metrics}");
    for line in program.stop() {
        let level = line["level"].as_str().unwrap_or_default();
        assert!(!matches!(level, "ERROR" | "WARN"), "{line}");
        let line = line.to_string();
        assert!(!contains_secret(&line, &id) && !line.contains(WELL_FORMED), "{line}");
    }
}

/// The secret half of an unused id.
const WELL_FORMED: &str = "00112233445566778899aabbccddeeff";

async fn bad_bodies(addr: SocketAddr, session: &str, messages: &str, id: &SessionId) {
    use ErrorCode::{InvalidBody, InvalidSessionId, MalformedJson};
    let deep = format!(r#"{{"client_data":{}1{}}}"#, "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let deep_array = format!(r#"{{"message":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let unclosed = format!(r#"{{"client_data":{}"#, "{\"a\":[".repeat(50_000));
    let with_id = |rest: &str| format!(r#"{{"session_id":"{}"{rest}}}"#, id.expose());
    for (method, target, body, code, text) in [
        ("POST", SESSIONS, "{", MalformedJson, "line 1"),
        ("POST", SESSIONS, "{\"client_data\":{},}", MalformedJson, "line 1, column 19"),
        ("POST", SESSIONS, "null", InvalidBody, "must be a JSON object"),
        ("POST", SESSIONS, "[]", InvalidBody, "must be a JSON object"),
        ("POST", SESSIONS, "\"x\"", InvalidBody, "must be a JSON object"),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":null}",
            InvalidBody,
            "`/client_data` must be an object",
        ),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":[1]}",
            InvalidBody,
            "`/client_data` must be an object",
        ),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":\"{}\"}",
            InvalidBody,
            "`/client_data` must be an object",
        ),
        ("POST", SESSIONS, "{\"client_data\":{},\"ttl\":1}", InvalidBody, "`/ttl` is unknown"),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":{},\"client_data\":{}}",
            InvalidBody,
            "`/client_data` is given more than once",
        ),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":{\"a\":1,\"a\":2}}",
            InvalidBody,
            "`/client_data/a` is given more than once",
        ),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":{\"a\":\"\\ud800\"}}",
            InvalidBody,
            "`/client_data/a` has an escape",
        ),
        (
            "POST",
            SESSIONS,
            "{\"client_data\":{\"a\":1e999}}",
            InvalidBody,
            "`/client_data/a` must be within the range",
        ),
        ("POST", SESSIONS, &deep, InvalidBody, "nested deeper than 32 levels"),
        ("POST", SESSIONS, &unclosed, MalformedJson, "ends before its JSON does"),
        ("PATCH", session, "{}", InvalidBody, "`/client_data` is required"),
        (
            "PATCH",
            session,
            "{\"client_data\":null}",
            InvalidBody,
            "`/client_data` must be an object",
        ),
        ("PATCH", session, "{\"client_data\":7}", InvalidBody, "`/client_data` must be an object"),
        ("PATCH", session, "{\"name\":\"Ada\"}", InvalidBody, "`/client_data` is required"),
        ("PATCH", session, &deep, InvalidBody, "nested deeper"),
        ("POST", messages, "{}", InvalidBody, "`/message` is required"),
        ("POST", messages, "{\"message\":null}", InvalidBody, "`/message`"),
        ("POST", messages, "{\"message\":7}", InvalidBody, "`/message`"),
        ("POST", messages, "{\"message\":\"\"}", InvalidBody, "`/message` must not be empty"),
        (
            "POST",
            messages,
            "{\"message\":\"a\",\"message\":\"b\"}",
            InvalidBody,
            "`/message` is given more than once",
        ),
        ("POST", messages, "{\"message\":\"a\",\"role\":\"x\"}", InvalidBody, "`/role` is unknown"),
        ("POST", messages, &with_id(",\"message\":\"a\""), InvalidBody, "`/session_id` is unknown"),
        ("POST", messages, &deep_array, InvalidBody, "`/message`"),
        ("POST", messages, "{\"message\":\"\\ud800\"}", InvalidBody, "`/message`"),
        ("POST", CONVERSATIONS, "{\"message\":\"hi\"}", InvalidBody, "`/session_id` is required"),
        (
            "POST",
            CONVERSATIONS,
            "{\"session_id\":7,\"message\":\"hi\"}",
            InvalidBody,
            "`/session_id` must be a string",
        ),
        (
            "POST",
            CONVERSATIONS,
            "{\"session_id\":null,\"message\":\"hi\"}",
            InvalidBody,
            "`/session_id` must be a string",
        ),
        (
            "POST",
            CONVERSATIONS,
            "{\"session_id\":\"x\",\"message\":\"hi\"}",
            InvalidSessionId,
            "A session id is",
        ),
        ("POST", CONVERSATIONS, &with_id(""), InvalidBody, "`/message` is required"),
    ] {
        let response = send_json(addr, method, target, body).await.expect("a response");
        let problem = assert_problem(&response, code);
        assert!(problem.detail.contains(text), "{method} {body:.80}: {}", problem.detail);
    }
}

async fn bad_sizes(addr: SocketAddr, session: &str, messages: &str) {
    use ErrorCode::{BodyTooLarge, ClientDataTooLarge, MessageTooLarge};
    let text = |bytes: usize| "x".repeat(bytes);
    let data = |bytes: usize| json!({"client_data": {"a": text(bytes)}}).to_string();
    for (method, target, body, code) in [
        (
            "POST",
            messages,
            json!({"message": text(MAX_MESSAGE_BYTES + 1)}).to_string(),
            MessageTooLarge,
        ),
        ("POST", SESSIONS, data(MAX_CLIENT_DATA_BYTES), ClientDataTooLarge),
        ("PATCH", session, data(MAX_CLIENT_DATA_BYTES), ClientDataTooLarge),
        ("PATCH", session, data(MAX_CLIENT_DATA_BYTES - "{\"a\":\"\"}".len()), ClientDataTooLarge),
        ("POST", SESSIONS, data(2_000_000), BodyTooLarge),
        ("POST", messages, text(2_000_000), BodyTooLarge),
    ] {
        let rejected = send_json(addr, method, target, &body).await.expect("a response");
        let problem = assert_problem(&rejected, code);
        let pointers = problem.errors.iter().filter_map(|error| error.pointer.as_deref());
        let expected: &[&str] = match code {
            MessageTooLarge => &["/message"],
            ClientDataTooLarge => &["/client_data"],
            _ => &[],
        };
        assert_eq!(pointers.collect::<Vec<_>>(), expected);
    }
}

async fn bad_targets(addr: SocketAddr, id: &SessionId) {
    use ErrorCode::{
        BadRequest, InvalidCursor, InvalidQuery, InvalidSessionId, MethodNotAllowed, NotFound,
        SessionNotFound, UriTooLong,
    };
    let own = id.expose();
    let upper = format!("{SESSIONS}/{}", own.to_uppercase());
    let long = format!("{SESSIONS}/{}", "0".repeat(1_000));
    let too_long = format!("{SESSIONS}/{}", "0".repeat(10_000));
    let unknown = format!("{SESSIONS}/0badcafe-{WELL_FORMED}");
    let history = |query: &str| format!("{SESSIONS}/{own}/history?{query}");
    for (method, target, code) in [
        ("GET", format!("{SESSIONS}/x"), InvalidSessionId),
        ("GET", format!("{SESSIONS}/{own}0"), InvalidSessionId),
        ("GET", upper, InvalidSessionId),
        ("GET", long, InvalidSessionId),
        ("GET", too_long, UriTooLong),
        ("GET", format!("{SESSIONS}/%00"), BadRequest),
        ("GET", format!("{SESSIONS}/%ff%fe"), BadRequest),
        ("GET", format!("{SESSIONS}/..%2f..%2fetc"), BadRequest),
        ("GET", format!("{SESSIONS}/{own}/../{own}"), BadRequest),
        ("GET", format!("{SESSIONS}/%F0%9F%A6%80"), InvalidSessionId),
        ("DELETE", format!("{SESSIONS}/{own}/%65vents"), MethodNotAllowed),
        ("DELETE", format!("{SESSIONS}/not-an-id"), InvalidSessionId),
        ("GET", format!("{SESSIONS}/x/history"), InvalidSessionId),
        ("GET", "/api/stateful/session/x".to_owned(), InvalidSessionId),
        ("GET", unknown.clone(), SessionNotFound),
        ("DELETE", unknown.clone(), SessionNotFound),
        ("GET", format!("{unknown}/history"), SessionNotFound),
        ("GET", history("limit=0"), InvalidQuery),
        ("GET", history("limit=201"), InvalidQuery),
        ("GET", history("limit=-1"), InvalidQuery),
        ("GET", history("limit=x"), InvalidQuery),
        ("GET", history("limit=1&limit=2"), InvalidQuery),
        ("GET", history("offset=1"), InvalidQuery),
        ("GET", history("cursor="), InvalidCursor),
        ("GET", history("cursor=1"), InvalidCursor),
        ("GET", history("cursor=0000000200000000"), InvalidCursor),
        ("GET", history("cursor=%ff"), InvalidCursor),
        ("PUT", SESSIONS.to_owned(), MethodNotAllowed),
        ("PUT", format!("{SESSIONS}/{own}"), MethodNotAllowed),
        ("DELETE", format!("{SESSIONS}/{own}/history"), MethodNotAllowed),
        ("GET", format!("{SESSIONS}/{own}/messages"), MethodNotAllowed),
        ("BREW", format!("{SESSIONS}/{own}"), MethodNotAllowed),
        ("GET", format!("{SESSIONS}/"), NotFound),
        ("GET", format!("{SESSIONS}/{own}/"), NotFound),
        ("GET", format!("{SESSIONS}/{own}/nothing"), NotFound),
        ("GET", format!("/api/v2/stateful/sessions/{own}"), NotFound),
        ("GET", "/api/v1/stateless/info".to_owned(), NotFound),
        ("GET", "/".to_owned(), NotFound),
    ] {
        let response = send(addr, method, &target).await.expect("a response");
        let problem = assert_problem(&response, code);
        assert!(!problem.detail.contains(&own), "{method} {target}: {}", problem.detail);
        if code == MethodNotAllowed {
            assert!(!response.header("allow").is_empty(), "{method} {target} {response:?}");
        }
    }
    let unknown =
        json!({"session_id": format!("0badcafe-{WELL_FORMED}"), "message": "hi"}).to_string();
    assert_problem(
        &send_json(addr, "POST", CONVERSATIONS, &unknown).await.expect("a response"),
        SessionNotFound,
    );
}

async fn bad_framing(addr: SocketAddr, messages: &str) {
    let post = async |headers: &str, body: &[u8]| -> Response {
        let head =
            format!("POST {messages} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
        raw(addr, &[head.as_bytes(), body].concat()).await.expect("a response")
    };
    let body = br#"{"message":"hi"}"#;
    let length = format!("content-length: {}\r\n", body.len());
    let json = "content-type: application/json\r\n";
    for (headers, code) in [
        (length.clone(), ErrorCode::UnsupportedMediaType),
        (format!("{length}content-type: text/plain\r\n"), ErrorCode::UnsupportedMediaType),
        (format!("{length}{json}content-encoding: gzip\r\n"), ErrorCode::UnsupportedMediaType),
    ] {
        assert_problem(&post(&headers, body).await, code);
    }
    let invalid_utf8 =
        post(&format!("{json}content-length: 17\r\n"), b"{\"message\":\"h\xffi\"}").await;
    assert_problem(&invalid_utf8, ErrorCode::MalformedJson);
    // Rejected by the framework's parser, before any handler that could write a document.
    for headers in ["content-length: x\r\n", "content-length: 5\r\ntransfer-encoding: chunked\r\n"]
    {
        assert_eq!(post(headers, body).await.status, 400, "{headers}");
    }
}

#[test]
fn a_wrong_setting_ends_the_program_with_usage() {
    for (variable, value) in [
        ("SESSION_STORE", "hybird"),
        ("SESSION_IDLE_S", "0"),
        ("LISTEN_ADDR", "x"),
        ("WORKERS", "no"),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_stateful-svc"))
            .env_clear()
            .env(variable, value)
            .output();
        let ended = ended.expect("the program starts");
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{text}");
        assert!(
            text.contains(variable) && text.contains(value) && text.contains("for example"),
            "{text}"
        );
    }
    let secret = [("SESSION_REDIS_URL", "redis//:hunter2@x")];
    let ended = Command::new(env!("CARGO_BIN_EXE_stateful-svc"))
        .env_clear()
        .envs(secret)
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.code() == Some(64)
            && text.contains("SESSION_REDIS_URL")
            && !text.contains("hunter2"),
        "{text}"
    );
}
