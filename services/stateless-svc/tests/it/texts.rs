//! Snapshots of what users read: `--help`, configuration errors, problem documents. CONTRIBUTING.md
//! describes how to accept a change.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::Value;
use service_kit::testing::program::printed;
use service_kit::testing::{send, send_json};

use crate::spawn_app;

/// No interface has this address, so a program with a valid configuration ends, too.
const UNAVAILABLE: (&str, &str) = ("LISTEN_ADDR", "192.0.2.1:1");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    printed(env!("CARGO_BIN_EXE_stateless-svc"), arguments, &[&[UNAVAILABLE], environment].concat())
        .expect("runs")
}

#[test]
fn help() {
    assert_snapshot!(run(&["--help"], &[]));
}

#[test]
fn errors_of_the_environment() {
    let wrong = [
        ("LISTEN_ADDR", "8101"),
        ("INSTANCE_ID", "stateless 1"),
        ("INSTANCE_WEIGHT", "0"),
        ("WORKERS", "none"),
        ("LOG_LEVEL", "loud"),
        ("SHUTDOWN_TIMEOUT_S", "0"),
        ("DATABASE_URL", "mysql://user:hunter2@localhost/db"),
        ("DATABASE_URL_FILE", "/missing/url"),
        ("CACHE_REDIS_URL", "http://:hunter2@localhost"),
        ("TANDEM_MODE", "test"),
    ];
    let mut text = String::new();
    for (variable, value) in wrong {
        writeln!(text, "{variable}={value}\n    {}", run(&[], &[(variable, value)]))
            .expect("writes");
    }
    assert_snapshot!(text);
}

#[tokio::test]
async fn problems() {
    let addr = spawn_app();
    let calculate = "/api/v1/stateless/calculate";
    let wrong = [
        ("POST", calculate, r#"{"operation":"divide","operands":[1,0]}"#),
        ("POST", calculate, r#"{"operation":"divide","operands":[]}"#),
        ("POST", calculate, r#"{"operation":"power","operands":[10,1000]}"#),
        ("POST", calculate, r#"{"operation":"root","operands":[4]}"#),
        ("POST", calculate, r#"{"operands":["1"]}"#),
        ("POST", calculate, r#"{"operandz":[1]}"#),
        ("POST", calculate, r#"{"operands":[1"#),
        ("DELETE", calculate, ""),
        ("GET", "/api/v1/stateless/random?min=2&max=1", ""),
        ("GET", "/api/v1/stateless/random?count=many", ""),
        ("GET", "/api/v1/stateless/random?size=1", ""),
        ("GET", "/api/v1/stateless/products/x", ""),
        ("GET", "/api/v1/stateless/products?cursor=x", ""),
        ("GET", "/api/v1/stateless/products?limit=0", ""),
        ("GET", "/api/v1/stateless/products", ""),
        ("GET", "/api/v1/stateless/nothing", ""),
        ("GET", "/api/v1/stateless/%2e%2e/info", ""),
    ];
    let mut text = String::new();
    for (method, path, body) in wrong {
        let response = if body.is_empty() {
            send(addr, method, path).await
        } else {
            send_json(addr, method, path, body).await
        };
        let response = response.expect("a response");
        let mut document: Value = response.json().expect("JSON");
        document["request_id"] = "<id>".into();
        let request = format!("{method} {path} {body}");
        writeln!(text, "{}\n    {} {document}\n", request.trim_end(), response.status)
            .expect("writes");
    }
    assert_snapshot!(text);
}
