//! Informational responses, and connections that switch protocols.

use std::io::Write;
use std::thread;

use proto_contracts::Verdict;

use crate::client::{Connection, Request};
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, engine, session_path};
use crate::upstream::{Act, Upstream};

const MIB: usize = 1024 * 1024;

fn upgraded(gateway: &TestGateway) -> Connection {
    let mut client = gateway.connect();
    let request = Request::get(&format!("{}/live", session_path(gateway.key_at("stateful-1"))))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13");
    let reply = client.send(&request);
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("websocket")));
    assert_eq!(
        (reply.verdict(), reply.served_by()),
        (Verdict::Home, "stateful-1"),
        "upgrades are sticky too"
    );
    assert_eq!(reply.header("sec-websocket-accept"), Some("yes"));
    client
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(Act::Echo);
    let mut client = upgraded(&gateway);
    assert_eq!(upstream.last().header("upgrade"), Some("websocket"));
    for message in [&b"\x81\x05hello"[..], b"\x00", b"GET / HTTP/1.1\r\n\r\n"] {
        client.write(message);
        assert_eq!(client.read_exactly(message.len()), message);
    }
    client.finish();
    assert!(client.is_closed_by_peer(), "both sides are closed");
}

#[test]
fn the_body_limit_does_not_apply_to_upgraded_connections() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(Act::Echo);
    let mut client = upgraded(&gateway);
    let mut writer = client.writer();
    let sent: Vec<u8> = (0..3 * MIB).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let sending = thread::spawn(move || writer.write_all(&sent));
    assert!(client.read_exactly(expected.len()) == expected, "3 MiB are echoed unchanged");
    sending.join().expect("no panic").expect("all was taken");
}

#[test]
fn interim_responses_are_forwarded_and_the_final_one_is_stamped() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(Act::Interim(vec![103]));
    let reply = gateway.send(&Request::get(SESSIONS));
    assert_eq!((reply.status, reply.interim.as_slice()), (200, &[103][..]));
    assert_eq!(reply.cookie_key(), Some(reply.key()));

    upstream.act(Act::Interim(vec![100]));
    let mut client = gateway.connect();
    let expecting = Request::new("POST", SESSIONS).body(b"{}").header("expect", "100-continue");
    let reply = client.send(&expecting);
    assert_eq!((reply.status, reply.verdict()), (200, Verdict::New));
    assert_eq!(upstream.last().body_bytes, 2);
}

#[test]
fn a_required_upgrade_is_named() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    upstream.act(Act::Respond(426, vec![("connection", "upgrade"), ("upgrade", "websocket")], ""));
    let reply = gateway.send(&Request::get(INFO));
    assert_eq!((reply.status, reply.header("upgrade")), (426, Some("websocket")));
    // Pingora's proxy sets `Connection` to its own options.
    let names_it = reply.header("connection").is_some_and(|options| options.contains("upgrade"));
    assert_eq!(names_it, engine() == "plain");
}
