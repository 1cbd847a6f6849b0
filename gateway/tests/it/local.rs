//! Local replies, and hostile clients.

use std::io::Write;
use std::thread;

use proto_contracts::{ErrorCode, RequestId};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup};
use crate::upstream::Upstream;

const MIB: usize = 1024 * 1024;

#[test]
fn the_gateway_serves_its_own_health_check() {
    let gateway = Setup::new().start();
    let mut client = gateway.connect();
    let reply = client.send(&Request::get("/health"));
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"healthy"[..]));
    assert_eq!(
        (reply.header("content-type"), reply.header("cache-control")),
        (Some("text/plain"), Some("no-store"))
    );
    let head = client.send(&Request::new("HEAD", "/health"));
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("7")),
        "the length of the response to GET"
    );
    let posted = client.send(&Request::post("/health"));
    assert_eq!(
        (posted.code(), posted.header("allow")),
        (ErrorCode::MethodNotAllowed, Some("GET, HEAD"))
    );
}

#[test]
fn an_unknown_path_gets_a_problem_and_the_connection_stays_open() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let mut client = gateway.connect();
    for path in
        ["/", "/api", "/api/v1", "/api/v2/stateless/info", "/favicon.ico", "/API/v1/stateless/info"]
    {
        let reply = client.send(&Request::get(path));
        assert_eq!((reply.status, reply.code()), (404, ErrorCode::NotFound), "{path}");
        assert_eq!(client.send(&Request::new("HEAD", path)).status, 404, "and no body follows");
        assert_eq!(
            client.send(&Request::get(INFO)).status,
            200,
            "the connection is usable after {path}"
        );
    }
}

#[test]
fn local_replies_have_the_request_id() {
    let gateway = Setup::new().start();
    let id = "0190b0e4-7d1c-7a52-9c41-0123456789ab";
    let kept = gateway.send(&Request::get("/no-such-path").header("x-request-id", id));
    assert_eq!(kept.problem().request_id.map(|id| id.to_string()).as_deref(), Some(id));
    // It comes behind a target that is longer than what is read at once.
    let long = format!("/{}", "a".repeat(60_000));
    let long = gateway.send(&Request::get(&long).header("x-request-id", id)).problem();
    assert_eq!(long.code, ErrorCode::UriTooLong);
    assert_eq!(long.request_id.map(|id| id.to_string()).as_deref(), Some(id));
    let made = gateway.send(&Request::get("/no-such-path").header("x-request-id", "1")).problem();
    assert!(made.request_id.is_some_and(|id| id != RequestId::default()));
}

#[test]
fn a_body_with_too_large_a_declared_length_is_not_forwarded() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let reply = gateway.send(&Request::new("POST", SESSIONS).body(&vec![b'x'; 2 * MIB]));
    assert_eq!((reply.status, reply.code()), (413, ErrorCode::BodyTooLarge));
    assert!(reply.problem().detail.contains("1048576"), "{reply:?}");
    assert_eq!(upstream.count(), 0);

    let mut client = gateway.connect();
    client.write(&Request::new("POST", SESSIONS).header("content-length", "999999999999").head());
    assert_eq!(
        client.reply_to("POST").code(),
        ErrorCode::BodyTooLarge,
        "rejected without waiting for the body"
    );
    client.finish();
    assert!(client.is_closed_by_peer(), "the rest of the body is not read as a request");
    let fits = gateway.send(&Request::new("POST", SESSIONS).body(&vec![b'x'; MIB]));
    assert_eq!(
        (fits.status, upstream.last().body_bytes),
        (200, MIB),
        "a body of exactly the limit passes"
    );
}

#[test]
fn a_chunked_body_over_the_limit_is_rejected_without_a_reset() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let mut client = gateway.connect();
    client.write(&Request::new("POST", SESSIONS).header("transfer-encoding", "chunked").head());
    let mut writer = client.writer();
    let sending = thread::spawn(move || -> std::io::Result<()> {
        for _ in 0..32 {
            writer.write_all(b"10000\r\n")?;
            writer.write_all(&[b'x'; MIB / 16])?;
            writer.write_all(b"\r\n")?;
        }
        writer.write_all(b"0\r\n\r\n")
    });
    let reply = client.reply_to("POST");
    assert_eq!((reply.status, reply.code()), (413, ErrorCode::BodyTooLarge));
    assert!(
        sending.join().expect("no panic").is_ok(),
        "the rest was read, so the connection was not reset"
    );
    assert!(client.is_closed_by_peer());
    assert_eq!(
        gateway.send(&Request::post(SESSIONS)).status,
        200,
        "the next request to the instance succeeds"
    );
}

#[test]
fn a_rejected_body_is_never_read_as_the_next_request() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let smuggled = Request::get(INFO).head();
    let mut client = gateway.connect();
    client.write(
        &Request::new("POST", "/no-such-path")
            .header("content-length", &smuggled.len().to_string())
            .head(),
    );
    client.write(&smuggled);
    assert_eq!(client.reply_to("POST").status, 404);
    client.finish();
    assert!(client.is_closed_by_peer(), "there is no second response");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn hostile_requests_get_a_client_error_and_affect_no_others() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(30_000));
    let many_headers =
        format!("GET {SESSIONS} HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(300));
    let negative = format!("POST {SESSIONS} HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n");
    let two_lengths = format!(
        "POST {SESSIONS} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
    );
    let bad_chunk =
        format!("POST {SESSIONS} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    for (what, bytes) in [
        ("garbage", "\u{1}\u{2}garbage\r\n\r\n"),
        ("a long path", &long_path),
        ("300 headers", &many_headers),
        ("a negative length", &negative),
        ("two lengths", &two_lengths),
        ("a broken chunk", &bad_chunk),
        ("a tunnel", "CONNECT example.test:443 HTTP/1.1\r\nhost: example.test:443\r\n\r\n"),
        ("a name with a space", "GET / HTTP/1.1\r\nhost: a\r\nbad name: x\r\n\r\n"),
    ] {
        let mut client = gateway.connect();
        client.write(bytes.as_bytes());
        client.finish();
        let reply = client.reply_to("GET");
        assert!((400..500).contains(&reply.status), "{what} gives {}", reply.status);
        assert_eq!(
            gateway.send(&Request::get(SESSIONS)).status,
            200,
            "others are served after {what}"
        );
    }
}

#[test]
fn a_route_may_have_its_own_body_limit() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new()
        .stateful([&upstream])
        .section("[limits.route_body_bytes]\n'/api/v1/stateful/conversations' = 64")
        .start();
    let small = "{\"message\":\"hello\"}";
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(64));
    for path in ["/api/v1/stateful/conversations", "/api/stateful/conversation"] {
        assert_eq!(gateway.send(&Request::new("POST", path).json(small)).status, 200, "{path}");
        let reply = gateway.send(&Request::new("POST", path).json(&large));
        assert_eq!((reply.status, reply.code()), (413, ErrorCode::BodyTooLarge), "{path}");
        assert!(String::from_utf8_lossy(&reply.body).contains("64 bytes"), "{reply:?}");
    }
    assert_eq!(
        gateway.send(&Request::new("POST", SESSIONS).json(&large)).status,
        200,
        "other routes keep the default limit"
    );
}
