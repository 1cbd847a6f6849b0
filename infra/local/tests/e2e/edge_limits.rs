//! What a client may send through Nginx: the gateway's limits and documents, as docs/API.md has
//! them, and the few limits that are Nginx's own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::{ErrorCode, headers};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::api::Api;
use crate::configure::add_to_gateway_config;
use crate::raw::{Listener, exchange, tls};
use crate::response::Response;
use crate::small_stack;

const INFO: &str = "/api/v1/stateless/info";
const CALCULATE: &str = "/api/v1/stateless/calculate";
const HOST: &str = "Host: localhost\r\nConnection: close\r\n";
const MIB: usize = 1024 * 1024;
/// Nginx closes a slow client's connection after 15 s at the latest; the rest is for a busy
/// machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_documented_limits_hold_at_the_edge() -> Result<()> {
    let stack = small_stack()
        .stateful(1)
        .with_nginx()
        // As Nginx does, so that a test with another loopback address is limited.
        .env("gateway", "GATEWAY_RATE_LIMIT_EXEMPT", "127.0.0.1/32")
        .start()
        .await?;
    let (sizes, slow) = tokio::join!(sizes(&stack), slow_clients_are_cut_off(&stack));
    sizes?;
    slow?;
    http2_headers(&stack).await?;
    expectations(&stack).await?;
    a_client_meets_the_gateways_rate(&stack).await?;
    logins_have_a_rate_of_nginx(&stack).await?;
    stack.shutdown().await;
    Ok(())
}

/// A problem document of the gateway, whose detail has this text.
fn of_gateway(what: &str, response: &Response, code: ErrorCode, text: &str) -> Result<()> {
    ensure!(response.status == code.status(), "{what}: {response}");
    let detail = response.problem(code).detail;
    ensure!(detail.contains(text), "{what} is not rejected by the gateway: {response}");
    Ok(())
}

async fn sizes(stack: &Stack) -> Result<()> {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{HOST}{fields}\r\n");
    let send =
        |bytes: String| async move { exchange(stack, Listener::Nginx, bytes.as_bytes()).await };

    // A target of 8 KiB. The query may be unknown to the service.
    let target = |len: usize| format!("{INFO}?{}", "x".repeat(len - INFO.len() - 1));
    let fits = send(get(&target(8_192), "")).await?;
    ensure!(fits.header(headers::SERVED_BY).is_some(), "8 KiB: {fits}");
    for len in [8_193, 60_000] {
        let long = send(get(&target(len), "")).await?;
        of_gateway("a long target", &long, ErrorCode::UriTooLong, "8192 bytes")?;
    }

    // 88 fields, of which three are Nginx's. `Connection` is for Nginx alone.
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: x\r\n")).collect::<String>();
    let fits = send(get(INFO, &fields(84))).await?;
    ensure!(fits.status == 200, "84 fields and Host: {fits}");
    let many = send(get(INFO, &fields(85))).await?;
    of_gateway("85 fields and Host", &many, ErrorCode::HeaderTooLarge, "88 fields")?;

    // 64 KiB of header, of which less than 1 KiB is Nginx's.
    let large = |bytes: usize| format!("X-Large: {}\r\n", "x".repeat(bytes));
    let fits = send(get(INFO, &large(63 * 1024))).await?;
    ensure!(fits.status == 200, "63 KiB: {fits}");
    let above = send(get(INFO, &large(64 * 1024))).await?;
    of_gateway("64 KiB", &above, ErrorCode::HeaderTooLarge, "65536 bytes")?;
    // What does not fit into Nginx's buffers.
    let above = send(get(INFO, &large(80 * 1024))).await?;
    above.problem(ErrorCode::HeaderTooLarge);

    // A body of 1 MiB.
    for (len, status) in [(MIB, 200), (MIB + 1, 413)] {
        let head = format!("Content-Type: application/json\r\nContent-Length: {len}\r\n");
        let body = format!("{{}}{}", " ".repeat(len - 2));
        let request = format!("POST {CALCULATE} HTTP/1.1\r\n{HOST}{head}\r\n{body}");
        let response = send(request).await?;
        ensure!(response.status == status, "{len} bytes: {response}");
        if status == 413 {
            response.problem(ErrorCode::BodyTooLarge);
        }
    }
    Ok(())
}

async fn http2_headers(stack: &Stack) -> Result<()> {
    let api = Api::through_nginx(stack)?;
    let large = |bytes: usize| {
        Response::to(api.request(Method::GET, INFO).header("x-large", "x".repeat(bytes)))
    };
    let fits = large(60 * 1024).await?;
    assert_eq!((fits.status, fits.version), (200, Version::HTTP_2), "{fits}");
    let above = large(66 * 1024).await?;
    of_gateway("66 KiB", &above, ErrorCode::HeaderTooLarge, "65536 bytes")?;
    // More than its buffers even by HTTP/2's codes for letters.
    ensure!(large(160 * 1024).await.is_err(), "Nginx ends the connection of such a client");
    Ok(())
}

async fn expectations(stack: &Stack) -> Result<()> {
    let post = |expect: &str| {
        format!(
            "POST {CALCULATE} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n\
             Content-Length: 2\r\nExpect: {expect}\r\n\r\n{{}}"
        )
    };
    for expect in ["100-continue", "100-Continue"] {
        let interim = exchange(stack, Listener::Nginx, post(expect).as_bytes()).await?;
        ensure!(interim.status == 100, "{interim}");
        ensure!(interim.body.starts_with(b"HTTP/1.1 200"), "{interim}");
    }
    let other = exchange(stack, Listener::Nginx, post("tea").as_bytes()).await?;
    other.problem(ErrorCode::ExpectationFailed);
    Ok(())
}

/// Nginx reads header and body before the gateway sees them.
async fn slow_clients_are_cut_off(stack: &Stack) -> Result<()> {
    let header = format!("GET {INFO} HTTP/1.1\r\nHost: local");
    let body = format!("POST {CALCULATE} HTTP/1.1\r\n{HOST}Content-Length: 9\r\n\r\n{{");
    let cut_off = |bytes: String| async move {
        let mut stream = tls(stack).await?;
        stream.write_all(bytes.as_bytes()).await?;
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        // The connection may end without a message of TLS.
        let _ended = tokio::time::timeout(CLOSED_WITHIN, read).await.context("it stays open")?;
        ensure!(received.is_empty(), "{}", String::from_utf8_lossy(&received));
        anyhow::Ok(())
    };
    let (header, body) = tokio::join!(cut_off(header), cut_off(body));
    header.context("a slow header")?;
    body.context("a slow body")
}

/// A client with this address.
fn client(stack: &Stack, last: u8) -> Result<reqwest::Client> {
    let address = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    Ok(stack.client()?.local_address(address).build()?)
}

async fn a_client_meets_the_gateways_rate(stack: &Stack) -> Result<()> {
    let base = stack.urls().https.context("Nginx runs")?;
    let info = |client: &reqwest::Client| Response::to(client.get(format!("{base}{INFO}")));
    let exempt = info(&client(stack, 1)?).await?;
    ensure!(exempt.header(headers::RATE_LIMIT_POLICY).is_none(), "{exempt}");
    let other = client(stack, 2)?;
    let first = info(&other).await?;
    let policy = first.header(headers::RATE_LIMIT_POLICY);
    ensure!(policy == Some(r#""client";q=100;w=2"#), "the documented rate: {first}");

    // The same burst, and then so slow a rate that a busy machine exceeds it.
    let section = "[rate_limit]\nrequests_per_second = 1\nburst = 100\n";
    add_to_gateway_config(stack, section).await?;
    let mut served = 0;
    let limited = loop {
        let response = info(&other).await?;
        ensure!(response.header(headers::RATE_LIMIT).is_some(), "{response}");
        if response.status != 200 {
            break response;
        }
        served += 1;
        ensure!(served < 1_000, "the client is never limited");
    };
    ensure!(served >= 90, "limited after {served} requests: {limited}");
    of_gateway("a burst", &limited, ErrorCode::RateLimited, "RateLimit-Policy")?;
    let field = |name: &str| limited.header(name).unwrap_or_default();
    assert_eq!(field(headers::RATE_LIMIT_POLICY), r#""client";q=100;w=100"#);
    ensure!(field(headers::RATE_LIMIT).starts_with(r#""client";r=0;"#), "{limited}");
    assert_eq!(field(RETRY_AFTER.as_str()), "1");
    let another = info(&client(stack, 3)?).await?;
    ensure!(another.status == 200, "other clients are served: {another}");
    Ok(())
}

async fn logins_have_a_rate_of_nginx(stack: &Stack) -> Result<()> {
    let base = stack.urls().https.context("Nginx runs")?;
    let client = client(stack, 4)?;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let response = Response::to(client.get(format!("{base}/api/v1/auth/login"))).await?;
        statuses.push(response.status);
        if response.status == 429 {
            response.problem(ErrorCode::RateLimited);
            let field = |name: &str| response.header(name).unwrap_or_default();
            assert_eq!(field(headers::RATE_LIMIT_POLICY), r#""auth";q=5;w=60"#);
            assert_eq!(field(headers::RATE_LIMIT), r#""auth";r=0;t=60"#);
            assert_eq!(field(RETRY_AFTER.as_str()), "12");
        }
    }
    ensure!(statuses.contains(&429), "{statuses:?}");
    ensure!(!statuses[..5].contains(&429), "{statuses:?}");

    // It is one rate for all three, in whatever spelling; else the path is nobody's.
    let status = async |path: &str| {
        Response::to(client.get(format!("{base}{path}"))).await.map(|response| response.status)
    };
    for path in [
        "/api/v1/auth/register",
        "/api/v1/auth/password",
        "/api/v1/auth/login?x=1",
        "/api/v1/auth/l%6Fgin",
        "/api/v1/auth/%6Cogin",
        "/api/v1/auth//login",
        "//api/v1/auth/login",
        "/api/v1/auth/login/",
        "/api/v1/auth/LOGIN",
        "/api/v1/auth/login;x",
        "/api/auth/login",
    ] {
        let status = status(path).await?;
        ensure!([400, 404, 429].contains(&status), "{path} is not limited: {status}");
    }
    // Nothing is guessed there, and a page may refresh often.
    for path in ["refresh", "logout", "me"] {
        for _ in 0..8 {
            let status = status(&format!("/api/v1/auth/{path}")).await?;
            ensure!(status != 429, "{path} has the rate of logins");
        }
    }
    Ok(())
}
