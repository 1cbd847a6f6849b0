//! Limits of one client: concurrent requests, streams and connections.

use proto_contracts::control::Event;
use proto_contracts::{AffinityKey, ErrorCode};
use socket2::SockRef;

use super::{LIMITED, figure, from};
use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::{INFO, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

fn events() -> String {
    format!("{}/events", session_path(AffinityKey::random()))
}

#[test]
fn requests_in_flight_are_limited_by_client() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section(LIMITED)
        .section("[clients]\nmax_requests = 3")
        .start();
    upstream.act(Act::Hang);
    let mut held = gateway.start_many(3, &from("192.0.2.1", Request::get(INFO)));
    eventually("all are sent", || (upstream.count() == 3).then_some(()));
    let rejected = gateway.send(&from("192.0.2.1", Request::get(INFO)));
    assert_eq!((rejected.status, rejected.code()), (429, ErrorCode::TooManyInFlight));
    assert!(rejected.problem().detail.contains("3 requests"), "{rejected:?}");
    assert_eq!(rejected.header("retry-after"), Some("1"));
    let shed = "gateway_requests_shed_total{pool=\"stateless\",reason=\"client_holdings\"}";
    assert_eq!(figure(&gateway, shed), 1);

    let mut other = gateway.connect();
    other.start(&from("192.0.2.2", Request::get(INFO)));
    eventually("another client's request is sent", || (upstream.count() == 4).then_some(()));
    upstream.act(Act::ok());
    assert_eq!(other.reply_to("GET").status, 200);
    held.iter_mut().for_each(|client| assert_eq!(client.reply_to("GET").status, 200));
    eventually("requests are accepted again", || {
        (gateway.send(&from("192.0.2.1", Request::get(INFO))).status == 200).then_some(())
    });
}

#[test]
fn a_body_that_is_still_arriving_is_a_request_in_flight() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section(LIMITED)
        .section("[clients]\nmax_requests = 1")
        .start();
    let mut slow = gateway.connect();
    let post = from("192.0.2.1", Request::new("POST", super::CALCULATE));
    slow.write(&post.header("content-length", "2").header("expect", "100-continue").head());
    assert_eq!(slow.read_exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(
        gateway.send(&from("192.0.2.1", Request::get(INFO))).code(),
        ErrorCode::TooManyInFlight
    );
    slow.write(b"{}");
    assert_eq!(slow.reply_to("POST").status, 200);
}

/// Opens a stream and reads its beginning.
fn open(gateway: &TestGateway, client: &str) -> Connection {
    let mut stream = gateway.connect();
    stream.start(&from(client, Request::get(&events())));
    assert!(stream.read_exactly(12).ends_with(b"200"));
    stream
}

fn streams(gateway: &TestGateway) -> u64 {
    gateway.stateful().instances.iter().map(|instance| instance.streams).sum()
}

#[test]
fn streams_are_limited_by_client_and_a_closed_one_frees_its_slot() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new()
        .stateful([&upstream])
        .section(LIMITED)
        .section("[clients]\nmax_streams = 2")
        .start();
    upstream.act(Act::Stream);
    // A hundred times the limit. The instance sends nothing, so only the close frees the slot.
    for nth in 0..100 {
        let held = eventually("there is room", || {
            let mut stream = gateway.connect();
            stream.start(&from("192.0.2.1", Request::get(&events())));
            stream.read_exactly(12).ends_with(b"200").then_some(stream)
        });
        match nth % 2 {
            0 => held.finish(),
            _ => SockRef::from(&held.writer())
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("an option"),
        }
        drop(held);
    }
    eventually("the gateway counts none", || (streams(&gateway) == 0).then_some(()));
    eventually("the instance serves none", || (upstream.streams() == 0).then_some(()));

    let _held = [open(&gateway, "192.0.2.1"), open(&gateway, "192.0.2.1")];
    let rejected = gateway.send(&from("192.0.2.1", Request::get(&events())));
    assert_eq!((rejected.status, rejected.code()), (429, ErrorCode::TooManyClientStreams));
    let _other = open(&gateway, "192.0.2.2");
    assert_eq!(streams(&gateway), 3);
}

#[test]
fn a_closed_or_reset_websocket_frees_its_slot() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(Act::Echo);
    let live = format!("{}/live", session_path(AffinityKey::random()));
    for reset in [false, true] {
        let upgrade =
            Request::get(&live).header("connection", "upgrade").header("upgrade", "websocket");
        let mut sockets: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
        for socket in &mut sockets {
            assert_eq!(socket.send(&upgrade).status, 101);
            socket.write(b"hello");
            assert_eq!(socket.read_exactly(5), b"hello");
        }
        assert_eq!(streams(&gateway), 20);
        if reset {
            for socket in &sockets {
                SockRef::from(&socket.writer())
                    .set_linger(Some(std::time::Duration::ZERO))
                    .expect("an option");
            }
        }
        drop(sockets);
        eventually("the gateway counts none", || (streams(&gateway) == 0).then_some(()));
    }
}

#[test]
fn connections_beyond_the_limit_are_rejected_and_others_are_served() {
    let upstream = Upstream::start("stateless-1");
    let gateway =
        Setup::new().stateless([&upstream]).section("[clients]\nmax_connections = 20").start();
    let mut events = gateway.listen("?types=connections_changed");
    let mut held: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    let open = || figure(&gateway, "gateway_client_connections");
    eventually("all are accepted", || (open() == 20).then_some(()));
    for _ in 0..5 {
        let rejected = gateway.connect().try_reply().expect("a response");
        assert_eq!((rejected.status, rejected.header("retry-after")), (503, Some("1")));
        let problem: proto_contracts::Problem = rejected.json();
        assert_eq!(problem.code, ErrorCode::TooManyConnections);
    }
    assert_eq!(figure(&gateway, "gateway_client_connections_refused_total{bound=\"all\"}"), 5);
    held.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
    assert_eq!(
        events.next(),
        Some(Event::ConnectionsChanged { limit: Some(20) }),
        "one event for five rejections"
    );
    drop(held);
    assert_eq!(events.next(), Some(Event::ConnectionsChanged { limit: None }));
    assert_eq!(gateway.send(&Request::get(INFO)).status, 200);
}

#[test]
fn connections_are_limited_by_address_except_trusted_proxies() {
    let upstream = Upstream::start("stateless-1");
    let bound = "[clients]\nmax_connections_per_address = 3";
    let setup = Setup::new().stateless([&upstream]).section(bound);
    let untrusted = setup.clone().server("trusted_proxies = []").start();
    let held: Vec<_> = (0..3).map(|_| untrusted.connect()).collect();
    eventually("all are accepted", || {
        (figure(&untrusted, "gateway_client_connections") == 3).then_some(())
    });
    let rejected = untrusted.connect().try_reply().expect("a response");
    let problem: proto_contracts::Problem = rejected.json();
    assert_eq!(problem.code, ErrorCode::TooManyConnections);
    assert!(problem.detail.contains("address"), "{problem:?}");
    drop(held);
    eventually("requests are accepted again", || {
        let reply = untrusted.connect().try_send(&Request::get(INFO));
        (reply.is_some_and(|reply| reply.status == 200)).then_some(())
    });

    let trusted = setup.start();
    let mut held: Vec<_> = (0..10).map(|_| trusted.connect()).collect();
    held.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
}

/// After a request a connection may be idle for 75 s, but not while three quarters of the limit are
/// in use.
#[test]
fn idle_connections_are_closed_when_the_limit_is_near() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).server("trusted_proxies = []");
    let gateway = setup.section("[clients]\nmax_connections = 8").start();
    let mut idle: Vec<_> = (0..7).map(|_| gateway.connect()).collect();
    eventually("all are accepted", || {
        (figure(&gateway, "gateway_client_connections") == 7).then_some(())
    });
    idle.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
    assert!(idle.iter_mut().all(Connection::is_closed_by_peer), "all idle ones are closed");
}

#[test]
fn during_overload_a_client_gets_at_most_a_quarter_of_the_pool() {
    let upstream = Upstream::start("stateless-1");
    let overload = "[overload]\nlatency_target_ms = 50\nmin_in_flight = 8\nmax_in_flight = 64";
    let gateway = Setup::new().stateless([&upstream]).section(LIMITED).section(overload).start();
    let mut events = gateway.listen("?types=overload_changed");
    upstream.act(Act::Hang);
    let start = |client: &str| {
        let (mut connection, sent) = (gateway.connect(), upstream.count());
        connection.start(&from(client, Request::get(INFO)));
        eventually("it is sent", || (upstream.count() > sent).then_some(()));
        connection
    };
    // Late responses to many clients: one each.
    let mut late: Vec<_> = (1..=40).map(|nth| start(&format!("192.0.2.{nth}"))).collect();
    std::thread::sleep(std::time::Duration::from_millis(100));
    upstream.act(Act::ok());
    late.iter_mut().for_each(|client| assert_eq!(client.reply_to("GET").status, 200));
    let Some(Event::OverloadChanged { limit: Some(limit), .. }) = events.next() else {
        panic!("no overload")
    };

    upstream.act(Act::Hang);
    let most = limit.div_ceil(4) - 1;
    let held: Vec<_> = (0..most).map(|_| start("198.51.100.1")).collect();
    let rejected = gateway.send(&from("198.51.100.1", Request::get(INFO)));
    assert_eq!(
        (rejected.status, rejected.code()),
        (503, ErrorCode::Overloaded),
        "{most} of {limit} are in flight"
    );
    let _other = start("198.51.100.2");
    drop(held);
}
