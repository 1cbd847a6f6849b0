//! What one client may hold at once: requests, streams, connections.

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
fn a_client_has_so_many_requests_in_flight_and_others_are_not_concerned() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section(LIMITED)
        .section("[clients]\nmax_requests = 3")
        .start();
    upstream.act(Act::Hang);
    let mut held = gateway.start_many(3, &from("192.0.2.1", Request::get(INFO)));
    eventually("all are sent", || (upstream.count() == 3).then_some(()));
    let refused = gateway.send(&from("192.0.2.1", Request::get(INFO)));
    assert_eq!((refused.status, refused.code()), (429, ErrorCode::TooManyInFlight));
    assert!(refused.problem().detail.contains("3 requests"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let shed = "gateway_requests_shed_total{pool=\"stateless\",reason=\"client_holdings\"}";
    assert_eq!(figure(&gateway, shed), 1);

    let mut other = gateway.connect();
    other.start(&from("192.0.2.2", Request::get(INFO)));
    eventually("another client's is sent", || (upstream.count() == 4).then_some(()));
    upstream.act(Act::ok());
    assert_eq!(other.reply_to("GET").status, 200);
    held.iter_mut().for_each(|client| assert_eq!(client.reply_to("GET").status, 200));
    eventually("there is room again", || {
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
fn a_client_has_so_many_streams_and_a_closed_one_frees_its_place_at_once() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new()
        .stateful([&upstream])
        .section(LIMITED)
        .section("[clients]\nmax_streams = 2")
        .start();
    upstream.act(Act::Stream);
    // A hundred times the limit. The instance is silent, so only the close frees the place.
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
    let refused = gateway.send(&from("192.0.2.1", Request::get(&events())));
    assert_eq!((refused.status, refused.code()), (429, ErrorCode::TooManyClientStreams));
    let _other = open(&gateway, "192.0.2.2");
    assert_eq!(streams(&gateway), 3);
}

#[test]
fn a_websocket_that_its_client_closes_or_resets_frees_its_place() {
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
fn beyond_the_bound_connections_are_turned_away_and_the_others_go_on() {
    let upstream = Upstream::start("stateless-1");
    let gateway =
        Setup::new().stateless([&upstream]).section("[clients]\nmax_connections = 20").start();
    let mut events = gateway.listen("?types=connections_changed");
    let mut held: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    let open = || figure(&gateway, "gateway_client_connections");
    eventually("all have a place", || (open() == 20).then_some(()));
    for _ in 0..5 {
        let refused = gateway.connect().try_reply().expect("a response");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        let problem: proto_contracts::Problem = refused.json();
        assert_eq!(problem.code, ErrorCode::TooManyConnections);
    }
    assert_eq!(figure(&gateway, "gateway_client_connections_refused_total{bound=\"all\"}"), 5);
    held.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
    assert_eq!(
        events.next(),
        Some(Event::ConnectionsChanged { limit: Some(20) }),
        "told once, not five times"
    );
    drop(held);
    assert_eq!(events.next(), Some(Event::ConnectionsChanged { limit: None }));
    assert_eq!(gateway.send(&Request::get(INFO)).status, 200);
}

#[test]
fn an_address_has_so_many_connections_unless_it_is_a_trusted_proxys() {
    let upstream = Upstream::start("stateless-1");
    let bound = "[clients]\nmax_connections_per_address = 3";
    let setup = Setup::new().stateless([&upstream]).section(bound);
    let strange = setup.clone().server("trusted_proxies = []").start();
    let held: Vec<_> = (0..3).map(|_| strange.connect()).collect();
    eventually("all have a place", || {
        (figure(&strange, "gateway_client_connections") == 3).then_some(())
    });
    let refused = strange.connect().try_reply().expect("a response");
    let problem: proto_contracts::Problem = refused.json();
    assert_eq!(problem.code, ErrorCode::TooManyConnections);
    assert!(problem.detail.contains("address"), "{problem:?}");
    drop(held);
    eventually("there is room again", || {
        let reply = strange.connect().try_send(&Request::get(INFO));
        (reply.is_some_and(|reply| reply.status == 200)).then_some(())
    });

    let trusted = setup.start();
    let mut held: Vec<_> = (0..10).map(|_| trusted.connect()).collect();
    held.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
}

/// A connection that has served a request may be idle for 75 s, but not while three quarters of all
/// places are taken.
#[test]
fn idle_connections_make_room_while_places_are_scarce() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).server("trusted_proxies = []");
    let gateway = setup.section("[clients]\nmax_connections = 8").start();
    let mut idle: Vec<_> = (0..7).map(|_| gateway.connect()).collect();
    eventually("all have a place", || {
        (figure(&gateway, "gateway_client_connections") == 7).then_some(())
    });
    idle.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get(INFO)).status, 200));
    assert!(idle.iter_mut().all(Connection::is_closed_by_peer), "each makes room by itself");
}

#[test]
fn while_a_pool_is_overloaded_a_client_has_a_quarter_of_it_and_others_go_on() {
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
    let refused = gateway.send(&from("198.51.100.1", Request::get(INFO)));
    assert_eq!(
        (refused.status, refused.code()),
        (503, ErrorCode::Overloaded),
        "{most} of {limit} are held"
    );
    let _other = start("198.51.100.2");
    drop(held);
}
