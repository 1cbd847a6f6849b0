//! Deadlines for clients and instances.

use std::time::{Duration, Instant};

use proto_contracts::ErrorCode;

use crate::client::Request;
use crate::eventually;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

/// `header_ms` and `idle_ms` of these tests.
const HEADER: Duration = Duration::from_millis(300);
const IDLE: Duration = Duration::from_millis(900);

fn start(upstream: &Upstream) -> TestGateway {
    let timeouts =
        format!("[timeouts]\nheader_ms = {}\nidle_ms = {}", HEADER.as_millis(), IDLE.as_millis());
    Setup::new().stateless([upstream]).section(&timeouts).start()
}

#[test]
fn each_slow_header_on_a_connection_times_out_at_the_deadline() {
    let upstream = Upstream::start("stateless-1");
    let gateway = start(&upstream);
    for requests_before in [0, 1, 3] {
        let mut client = gateway.connect();
        for _ in 0..requests_before {
            assert_eq!(client.send(&Request::get(INFO)).status, 200);
        }
        let begun = Instant::now();
        client.write(b"GET /api/v1/stateless/info HTTP/1.1\r\nhost: a\r\n");
        let mut writer = client.writer();
        let dripping = std::thread::spawn(move || {
            // Sending byte by byte does not extend the deadline. When the gateway has closed the
            // connection, writing fails.
            while std::io::Write::write_all(&mut writer, b"x").is_ok()
                && begun.elapsed() < crate::TIMEOUT
            {
                std::thread::sleep(HEADER / 10);
            }
            begun.elapsed()
        });
        let reply = client.reply_to("GET");
        let took = begun.elapsed();
        assert_eq!((reply.status, reply.code()), (408, ErrorCode::RequestTimeout));
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(took >= HEADER, "too early after {requests_before} requests: {took:?}");
        assert!(
            dripping.join().expect("no panic") < crate::TIMEOUT,
            "the connection is closed at last"
        );
    }
    assert_eq!(upstream.count(), 4, "no incomplete request was forwarded");
}

#[test]
fn an_idle_connection_is_closed_without_a_response() {
    let upstream = Upstream::start("stateless-1");
    let gateway = start(&upstream);
    let begun = Instant::now();
    let mut silent = gateway.connect();
    assert!(silent.is_closed_by_peer(), "no response without a request");
    assert!(begun.elapsed() >= HEADER);

    let mut idle = gateway.connect();
    assert_eq!(idle.send(&Request::get(INFO)).status, 200);
    let begun = Instant::now();
    assert!(idle.is_closed_by_peer());
    assert!(
        begun.elapsed() >= IDLE - HEADER,
        "after a request a connection may be idle for longer: {:?}",
        begun.elapsed()
    );
}

#[test]
fn the_header_deadline_does_not_apply_to_responses() {
    let upstream = Upstream::start("stateless-1");
    let gateway = start(&upstream);
    upstream.act(Act::Hang);
    let mut client = gateway.connect();
    client.start(&Request::get(INFO));
    eventually("it has arrived", || (upstream.count() == 1).then_some(()));
    std::thread::sleep(HEADER * 2);
    upstream.act(Act::ok());
    assert_eq!(client.reply_to("GET").status, 200);
    assert_eq!(client.send(&Request::get(INFO)).status, 200, "the connection stays open");
}

#[test]
fn a_truncated_header_is_a_bad_request() {
    let upstream = Upstream::start("stateless-1");
    let gateway = start(&upstream);
    let mut client = gateway.connect();
    client.write(b"GET /api/v1/stateless/info HTTP/1.1\r\nhost: a");
    client.finish();
    assert_eq!(client.reply_to("GET").code(), ErrorCode::BadRequest);
    assert!(client.is_closed_by_peer());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_body_that_arrives_byte_by_byte_times_out_at_its_deadline() {
    let upstream = Upstream::start("stateless-1");
    let gateway =
        Setup::new().stateless([&upstream]).section("[timeouts]\nbody_ms = 500\n").start();
    let mut client = gateway.connect();
    let begun = Instant::now();
    client.write(
        &Request::new("POST", "/api/v1/stateless/calculate")
            .header("content-length", "1000")
            .head(),
    );
    let mut writer = client.writer();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut writer, b"x").is_ok()
            && begun.elapsed() < crate::TIMEOUT
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(client.reply_to("POST").code(), ErrorCode::RequestTimeout);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(client.is_closed_by_peer());
    dripping.join().expect("no panic");
    assert_eq!(upstream.count(), 0, "an incomplete request is not forwarded");
}

#[test]
fn an_instance_times_out_after_upstream_response_ms() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section("[timeouts]\nupstream_response_ms = 300\n")
        .start();
    upstream.act(Act::Hang);
    let reply = gateway.send(&Request::post("/api/v1/stateless/calculate"));
    assert_eq!((reply.status, reply.code()), (504, ErrorCode::UpstreamTimeout));
}

/// A time that Nginx's configuration sets, in seconds.
fn nginx(file: &str, directive: &str) -> Duration {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/nginx").join(file);
    let text = std::fs::read_to_string(path).expect("the file exists");
    let value = text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("@@IF_UPSTREAM@@").trim();
        line.strip_prefix(directive)?.trim().strip_suffix("s;")?.parse().ok()
    });
    Duration::from_secs(value.unwrap_or_else(|| panic!("{directive} in {file}")))
}

/// The table in docs/ARCHITECTURE.md, "Deadlines".
#[test]
fn the_deadlines_of_nginx_gateway_and_services_fit_each_other() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
    let timeouts = gateway::Config::load(&file, |_| None).expect("fine").traffic.timeouts;
    let (client, upstream) = (timeouts.client, timeouts.upstream);
    // The outermost layer that sees it rejects a slow client, so each inner layer waits longer.
    assert!(nginx("limits.conf", "client_header_timeout") <= client.header);
    assert!(client.body.grace <= client.body.longest);
    assert!(
        client.body.longest < service_kit::body::BODY_TIMEOUT,
        "a slow body is the client's fault, not the service's"
    );
    // Each outer layer has a longer timeout, so the innermost one responds.
    assert!(upstream.connect + upstream.response < nginx("proxy.conf", "proxy_read_timeout"));
    assert!(upstream.write < nginx("proxy.conf", "proxy_send_timeout"));
    // The sender of requests closes idle connections first, so it sends none to a closing one.
    assert!(nginx("nginx.conf.template", "keepalive_timeout") < client.idle);
    assert!(upstream.idle < service_kit::server::KEEP_ALIVE);
}
