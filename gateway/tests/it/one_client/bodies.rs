//! Request bodies of any framing and size, and slow senders and readers.

use std::time::Duration;

use proto_contracts::ErrorCode;

use super::{CALCULATE, LIMITED, assert_no_ejection, figure};
use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let chunks = body.chunks(size).flat_map(|chunk| {
        [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.to_vec(), b"\r\n".to_vec()].concat()
    });
    chunks.chain(*b"0\r\n\r\n").collect()
}

fn post(framing: (&str, &str)) -> Request {
    Request::new("POST", CALCULATE).header(framing.0, framing.1)
}

#[test]
fn bodies_of_any_size_and_framing_arrive_complete() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let bytes: Vec<u8> = (0..300_000_u32).map(|place| (place % 251) as u8).collect();
    for size in [0, 1, 4_000, 65_535, 65_536, 65_537, 131_072, 131_073, 300_000] {
        let body = &bytes[..size];
        // In one write, in pieces with pauses between them, and after `100 Continue`.
        for pieces in [1, 3, 7] {
            for chunked in [false, true] {
                let length = size.to_string();
                let (framing, wire) = match chunked {
                    true => (("transfer-encoding", "chunked"), in_chunks(body, 40_000)),
                    false => (("content-length", length.as_str()), body.to_vec()),
                };
                let mut client = gateway.connect();
                let expects = pieces == 7;
                let request = post(framing);
                let request =
                    if expects { request.header("expect", "100-continue") } else { request };
                client.write(&request.head());
                for piece in wire.chunks((wire.len() / pieces).max(1)) {
                    if pieces > 1 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    client.write(piece);
                }
                let reply = client.reply_to("POST");
                assert_eq!(
                    reply.status, 200,
                    "{size} bytes, chunked: {chunked}, {pieces} pieces: {reply:?}"
                );
                let seen = upstream.last();
                assert!(
                    seen.body == body,
                    "{size} bytes became {}, chunked: {chunked}",
                    seen.body.len()
                );
                assert!(
                    size == 0 || seen.header("expect").is_none(),
                    "the gateway has sent 100 Continue itself"
                );
                let next = client.try_send(&Request::get(INFO)).map(|reply| reply.status);
                assert_eq!(
                    next,
                    Some(200),
                    "after {size} bytes, chunked: {chunked}, {pieces} pieces; {reply:?}"
                );
            }
        }
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let mut client = gateway.connect();
    client.write(&post(("content-length", "2")).header("expect", "100-continue").head());
    assert_eq!(client.read_exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write(b"{}");
    assert_eq!(
        (client.reply_to("POST").status, upstream.last().body.as_slice()),
        (200, &b"{}"[..])
    );
}

#[test]
fn an_expectation_in_http_1_0_is_ignored() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    for expectation in ["100-continue", "200-ok"] {
        let mut client = gateway.connect();
        let fields = format!("expect: {expectation}\r\ncontent-length: 2\r\n");
        client.write(format!("POST {CALCULATE} HTTP/1.0\r\n{fields}\r\n{{}}").as_bytes());
        let reply = client.reply_to("POST");
        assert_eq!((reply.status, upstream.last().body.as_slice()), (200, &b"{}"[..]));
        assert!(upstream.last().header("expect").is_none(), "the header is not forwarded");
    }
}

#[test]
fn slow_bodies_do_not_count_as_in_flight_and_time_out() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section("[overload]\nmax_in_flight = 2\nmin_in_flight = 1")
        .section("[timeouts]\nbody_grace_ms = 1500\nbody_min_bytes_per_s = 1000")
        .start();
    let declared = post(("content-length", "1000")).head();
    let chunked = [post(("transfer-encoding", "chunked")).head(), b"100\r\n".to_vec()].concat();
    let mut slow: Vec<Connection> = (0..40).map(|_| gateway.connect()).collect();
    for (nth, client) in slow.iter_mut().enumerate() {
        client.write(if nth % 2 == 0 { &declared } else { &chunked });
        client.write(b"x");
    }
    for _ in 0..50 {
        assert_eq!(gateway.send(&Request::get(INFO)).status, 200);
    }
    let shed = "gateway_requests_shed_total{pool=\"stateless\",reason=\"instance_limit\"}";
    assert_eq!(figure(&gateway, shed), 0);
    for mut client in slow {
        assert_eq!(client.reply_to("POST").code(), ErrorCode::RequestTimeout);
        assert!(client.is_closed_by_peer());
    }
    assert_eq!(upstream.count(), 50, "no part of the slow bodies was forwarded");
    assert_no_ejection(&gateway);
}

#[test]
fn a_long_upload_does_not_count_as_latency_of_the_instance() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .section("[timeouts]\nupstream_response_ms = 1000")
        .section("[overload]\nlatency_target_ms = 400\nmin_in_flight = 1")
        .start();
    let (length, first) = (200_000, 150_000);
    let mut clients: Vec<_> = (0..50).map(|_| gateway.connect()).collect();
    let head = post(("content-length", &length.to_string())).head();
    clients.iter_mut().for_each(|client| client.write(&[&head[..], &vec![b'x'; first]].concat()));
    // Twice `upstream_response_ms`.
    std::thread::sleep(Duration::from_secs(2));
    clients.iter_mut().for_each(|client| client.write(&vec![b'x'; length - first]));
    for mut client in clients {
        assert_eq!(client.reply_to("POST").status, 200);
    }
    assert_no_ejection(&gateway);
    let shed = "gateway_requests_shed_total{pool=\"stateless\",reason=\"pool_limit\"}";
    assert_eq!((gateway.send(&Request::get(INFO)).status, figure(&gateway, shed)), (200, 0));
}

/// More than the kernel buffers for a client that does not read.
const LONG: usize = 16_000_000;

fn left(gateway: &TestGateway, figure_of: &str) -> u64 {
    figure(
        gateway,
        &format!("gateway_upstream_{figure_of}{{pool=\"stateless\",upstream=\"stateless-1\"}}"),
    )
}

#[test]
fn slow_readers_do_not_count_as_in_flight() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section("[overload]\nmax_in_flight = 5\nmin_in_flight = 1")
        .section("[timeouts]\nclient_write_min_bytes_per_s = 0")
        .start();
    upstream.act(Act::Long(LONG));
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.extend(gateway.start_many(1, &Request::get(INFO)));
        eventually("the transfer has begun, and is not in flight", || {
            (upstream.count() == slow.len() && left(&gateway, "in_flight") == 0).then_some(())
        });
    }
    assert_eq!(left(&gateway, "transfers"), 20, "none was closed");
    upstream.act(Act::ok());
    for _ in 0..50 {
        assert_eq!(gateway.send(&Request::get(INFO)).status, 200);
    }
    assert_no_ejection(&gateway);
    drop(slow);
}

#[test]
fn slow_readers_are_disconnected() {
    let upstream = Upstream::start("stateless-1");
    let rate = "[timeouts]\nclient_write_min_bytes_per_s = 1000000";
    let gateway = Setup::new().stateless([&upstream]).section(rate).start();
    upstream.act(Act::Long(LONG));
    let slow = gateway.start_many(5, &Request::get(INFO));
    eventually("all have begun, and the gateway has closed them", || {
        let waits = left(&gateway, "in_flight") + left(&gateway, "transfers");
        (upstream.count() == slow.len() && waits == 0).then_some(())
    });
    assert_no_ejection(&gateway);
    drop(slow);
}

#[test]
fn a_retried_body_is_counted_once() {
    let mut upstreams = Upstream::start_all(["stateless-1", "stateless-2", "stateless-3"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .checked_once()
        .section("[limits]\nmax_body_bytes = 50000")
        .section(LIMITED)
        .start();
    upstreams[0].act(Act::Close);
    upstreams[1].leave();
    for _ in 0..3 {
        let keyed = Request::new("POST", CALCULATE)
            .header("idempotency-key", "5f0c1a52-8f3e-4c56-9d9f-0a1b2c3d4e5f");
        assert_eq!(
            gateway.send(&keyed.body(&[b'x'; 40_000])).status,
            200,
            "the retry does not count again"
        );
    }
}
