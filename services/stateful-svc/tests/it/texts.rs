//! Snapshots of what users read: `--help`, configuration errors, problem documents. CONTRIBUTING.md
//! describes how to accept a change.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::Value;
use service_kit::testing::program::printed;

use crate::app::spawn_app;

/// No interface has this address, so a program with a valid configuration ends, too.
const UNAVAILABLE: (&str, &str) = ("LISTEN_ADDR", "192.0.2.1:1");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    printed(env!("CARGO_BIN_EXE_stateful-svc"), arguments, &[&[UNAVAILABLE], environment].concat())
        .expect("runs")
}

#[test]
fn help() {
    assert_snapshot!(run(&["--help"], &[]));
}

#[test]
fn errors_of_the_environment() {
    let wrong = [
        ("SESSION_STORE", "postgres"),
        ("SESSION_REDIS_URL", "http://:hunter2@localhost"),
        ("SESSION_REDIS_URL", "redis+sentinel://:hunter2@localhost:26379"),
        ("SESSION_IDLE_S", "0"),
        ("SESSION_ABSOLUTE_S", "0"),
        ("SESSION_ID_SECRET", "hunter2"),
        ("HOT_SET_BYTES", "1"),
        ("REDIS_ACK_REPLICAS", "17"),
        ("LIVE_ALLOWED_ORIGINS", "app.example"),
        ("LIVE_HEARTBEAT_S", "0"),
        ("JWT_PUBLIC_KEY", "no key"),
        ("JWT_JWKS_FILE", "/missing/keys"),
    ];
    let mut text = String::new();
    for (variable, value) in wrong {
        writeln!(text, "{variable}={value}\n    {}", run(&[], &[(variable, value)]))
            .expect("writes");
    }
    assert_snapshot!(text);
}

/// Method, path, header lines and body.
type Wrong = (&'static str, String, &'static [(&'static str, &'static str)], &'static str);

#[actix_web::test]
async fn problems() {
    const SESSIONS: &str = "/api/v1/stateful/sessions";
    const KEY: &str = "2b1c8a5e-6d0f-4e3a-9c7b-1f2d3e4a5b6c";
    let app = spawn_app();
    let session = app.create("Ada").await.session_id.expose();
    let absent = "0badcafe-00000000000000000000000000000000";
    let at = |rest: &str| format!("{SESSIONS}/{session}{rest}");
    let json: &[(&str, &str)] = &[];
    let wrong: [Wrong; 20] = [
        ("POST", SESSIONS.into(), json, r#"{"client_data":[]}"#),
        ("POST", SESSIONS.into(), json, r#"{"data":{}}"#),
        ("POST", SESSIONS.into(), json, "{"),
        ("POST", SESSIONS.into(), &[("idempotency-key", "1")], "{}"),
        ("POST", SESSIONS.into(), &[("if-match", "*")], "{}"),
        ("POST", SESSIONS.into(), &[("authorization", "Bearer x")], "{}"),
        ("GET", format!("{SESSIONS}/x"), json, ""),
        ("GET", format!("{SESSIONS}/{absent}"), json, ""),
        ("GET", at(""), &[("if-match", "\"9-x\"")], ""),
        ("GET", at(""), &[("if-none-match", "9")], ""),
        ("PUT", at(""), json, "{}"),
        ("PATCH", at(""), json, r#"{"client_data":7}"#),
        ("POST", at("/messages"), json, r#"{"message":7}"#),
        ("POST", at("/messages"), json, "{}"),
        ("POST", at("/messages"), &[("idempotency-key", KEY)], r#"{"message":"a"}"#),
        ("POST", at("/messages"), &[("idempotency-key", KEY)], r#"{"message":"b"}"#),
        ("GET", at("/history?cursor=x"), json, ""),
        ("GET", at("/events"), &[("last-event-id", "x")], ""),
        ("GET", at("/live"), json, ""),
        ("GET", at("/nothing"), json, ""),
    ];
    let mut text = String::new();
    for (method, path, headers, body) in wrong {
        let response = app.send(method, &path, headers, body).await;
        if response.status < 400 {
            continue;
        }
        let mut document: Value = response.json().expect("JSON");
        document["request_id"] = "<id>".into();
        let fields: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}; ")).collect();
        let path = path.replace(&session, "<session>");
        let request = format!("{method} {path} {fields}{body}");
        writeln!(text, "{}\n    {} {document}\n", request.trim_end(), response.status)
            .expect("writes");
    }
    assert_snapshot!(text.replace(&session, "<session>"));
}
