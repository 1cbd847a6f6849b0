//! Graceful shutdown.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup};
use crate::upstream::{Act, Upstream};

/// Far below the grace period of 30 s, and far above what an idle gateway needs.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn requests_in_flight_complete_and_new_connections_are_refused() {
    let upstream = Upstream::start("stateful-1");
    let mut gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(Act::Hang);
    let mut client = gateway.connect();
    client.start(&Request::post(SESSIONS));
    eventually("the request has arrived", || (upstream.count() == 1).then_some(()));

    gateway.terminate();
    eventually("new connections are refused", || {
        TcpStream::connect(gateway.addr).is_err().then_some(())
    });
    let readiness = || gateway.request(Request::get("/readyz")).status;
    eventually("readiness fails", || (readiness() == 503).then_some(()));
    assert!(!gateway.has_ended(), "a request is still in flight");

    upstream.act(Act::ok());
    assert_eq!(client.reply_to("POST").status, 200);
    let completed = Instant::now();
    eventually("run returns", || gateway.has_ended().then_some(()));
    assert!(completed.elapsed() < SOON, "it took {:?}", completed.elapsed());
}

#[test]
fn an_idle_gateway_ends_at_once() {
    let upstream = Upstream::start("stateful-1");
    let mut gateway = Setup::new().stateful([&upstream]).start();
    let mut idle = gateway.connect();
    assert_eq!(idle.send(&Request::get(SESSIONS)).status, 200);
    let signalled = Instant::now();
    gateway.terminate();
    eventually("run returns", || gateway.has_ended().then_some(()));
    assert!(signalled.elapsed() < SOON, "it took {:?}", signalled.elapsed());
    assert!(idle.is_closed_by_peer(), "idle connections are closed");
}
