//! Connections to instances that are kept for later requests.

use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

/// Requests that wait are no overload here.
const PATIENT: &str =
    "[overload]\nmin_in_flight = 2000\nmax_in_flight = 2000\nlatency_target_ms = 10000";

/// Sends a request on each connection, so that all are at the instance at once.
fn send_at_once(clients: &mut [Connection], request: &Request, upstream: &Upstream) {
    let before = upstream.count();
    upstream.act(Act::Hang);
    clients.iter_mut().for_each(|client| client.start(request));
    let all = before + clients.len();
    eventually("all wait", || (upstream.count() == all).then_some(()));
    upstream.act(Act::ok());
    for client in clients {
        assert_eq!(client.reply_to("GET").status, 200);
    }
}

fn connect(gateway: &TestGateway, clients: usize) -> Vec<Connection> {
    (0..clients).map(|_| gateway.connect()).collect()
}

#[test]
fn many_requests_at_once_open_no_connections_the_second_time() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).checked_once().threads(1);
    let gateway = setup.section(PATIENT).start();
    let mut clients = connect(&gateway, 1_100);
    send_at_once(&mut clients, &Request::get(INFO), &upstream);
    let accepted = upstream.accepted();
    send_at_once(&mut clients, &Request::get(INFO), &upstream);
    assert_eq!(upstream.accepted(), accepted);
}

/// Descriptors are left for one connection to an instance for each client.
#[test]
fn idle_connections_make_room_for_those_that_requests_need() {
    let upstreams = [Upstream::start("stateless-1"), Upstream::start("stateful-1")];
    let [stateless, stateful] = &upstreams;
    let setup = Setup::new().stateless([stateless]).stateful([stateful]).checked_once().threads(1);
    let gateway = setup.section(&format!("[clients]\nmax_connections = 16\n{PATIENT}")).start();
    let mut clients = connect(&gateway, 12);
    send_at_once(&mut clients, &Request::get(INFO), stateless);
    // Those of health checks.
    let checks = stateless.open_connections() - 12;
    send_at_once(&mut clients, &Request::get(SESSIONS), stateful);
    let open = |upstream: &Upstream| upstream.open_connections() - checks;
    eventually("some are closed", || (open(stateless) + open(stateful) <= 16).then_some(()));
    assert_eq!(open(stateful), 12);
}
