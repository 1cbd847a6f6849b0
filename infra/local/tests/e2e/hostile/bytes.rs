//! Malformed HTTP.

use anyhow::{Context, Result};
use local_stack::Stack;
use proto_contracts::ErrorCode::{self, *};

use crate::raw::{Listener, exchange};
use crate::response::Response;

/// The expected outcome. In every case the connection is closed: `exchange` waits for that.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Problem(ErrorCode),
    /// The request is served.
    Served,
}
use Outcome::{Problem, Served};

const GET: &str = "GET /api/v1/stateless/info HTTP/1.1\r\n";
const POST: &str =
    "POST /api/v1/stateless/calculate HTTP/1.1\r\nContent-Type: application/json\r\n";
const HOST: &str = "Host: localhost\r\nConnection: close\r\n";

/// Sends each case to that listener.
pub(super) async fn rejected_bytes(stack: &Stack, listener: Listener) -> Result<()> {
    let get = |fields: &str| format!("{GET}{HOST}{fields}\r\n");
    let post = |fields: &str, body: &str| format!("{POST}{HOST}{fields}\r\n{body}");
    let fields =
        |count: usize| (0..count).map(|n| format!("X-Field-{n}: x\r\n")).collect::<String>();
    let chunks = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16)).repeat(32) + "0\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let query = "x".repeat(70_000);
    // Case, bytes, outcome at the gateway, outcome at Nginx.
    for (what, bytes, at_gateway, at_nginx) in [
        ("no request", "GARBAGE\r\n\r\n".into(), Problem(BadRequest), Problem(BadRequest)),
        (
            "a TLS greeting",
            "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".into(),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "HTTP/9.9",
            format!("GET / HTTP/9.9\r\n{HOST}\r\n"),
            Problem(VersionNotSupported),
            Problem(BadRequest),
        ),
        (
            "a small method",
            get("").replacen("GET", "get", 1),
            Problem(MethodNotAllowed),
            Problem(BadRequest),
        ),
        (
            "no host",
            format!("{GET}Connection: close\r\n\r\n"),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        ("two hosts", get("Host: other\r\n"), Problem(BadRequest), Problem(BadRequest)),
        (
            "a space in the target",
            get("").replacen("info", "in fo", 1),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "NUL in the target",
            get("").replacen("info", "info%00", 1),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        // Nginx drops a line that is not a field.
        ("no colon", get("nonsense\r\n"), Problem(BadRequest), Served),
        ("NUL in a field", get("X-Field: a\0b\r\n"), Problem(BadRequest), Problem(BadRequest)),
        (
            "a length below zero",
            post("Content-Length: -1\r\n", "{}"),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "two lengths",
            post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "a length and chunks",
            // Without `Connection: close`.
            format!(
                "{POST}Host: localhost\r\nContent-Length: 2\r\n{chunked}\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "an unknown coding",
            post("Transfer-Encoding: rot13\r\n", "{}"),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        (
            "a chunk of no size",
            post(chunked, "zz\r\n{}\r\n0\r\n\r\n"),
            Problem(BadRequest),
            Problem(BadRequest),
        ),
        ("2 MiB in chunks", post(chunked, &chunks), Problem(BodyTooLarge), Problem(BodyTooLarge)),
        ("90 fields", get(&fields(90)), Problem(HeaderTooLarge), Problem(HeaderTooLarge)),
        // Nginx 1.22 has no limit, so the gateway rejects both.
        ("300 fields", get(&fields(300)), Problem(HeaderTooLarge), Problem(HeaderTooLarge)),
        (
            "a header of 100 KiB",
            get(&format!("X-Large: {}\r\n", "x".repeat(100 << 10))),
            Problem(HeaderTooLarge),
            Problem(HeaderTooLarge),
        ),
        (
            "a header of 2 MiB",
            get(&format!("X-Large: {}\r\n", "x".repeat(2 << 20))),
            Problem(HeaderTooLarge),
            Problem(HeaderTooLarge),
        ),
        (
            "a long target",
            get("").replacen("info", &format!("info?{query}"), 1),
            Problem(UriTooLong),
            Problem(UriTooLong),
        ),
    ] {
        let expected = if listener == Listener::Gateway { at_gateway } else { at_nginx };
        let response = exchange(stack, listener, bytes.as_bytes())
            .await
            .with_context(|| format!("{what} at {listener:?}"))?;
        check(what, expected, &response).with_context(|| format!("at {listener:?}"))?;
    }
    Ok(())
}

fn check(what: &str, expected: Outcome, response: &Response) -> Result<()> {
    let status = match expected {
        Problem(code) => code.status(),
        Served => 200,
    };
    anyhow::ensure!(response.status == status, "{what}: not {expected:?} but {response}");
    match expected {
        Problem(code) => drop(response.problem(code)),
        Served => {}
    }
    Ok(())
}

/// A URL with `http` for `https`.
pub(super) async fn plain_http_on_the_tls_port(stack: &Stack) -> Result<()> {
    let response =
        exchange(stack, Listener::NginxPlaintext, format!("{GET}{HOST}\r\n").as_bytes()).await?;
    let detail = response.problem(BadRequest).detail;
    anyhow::ensure!(detail.contains("https"), "{detail}");
    Ok(())
}
