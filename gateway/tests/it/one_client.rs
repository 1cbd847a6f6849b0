//! Misbehaviour of one client: it ejects no instance, and does not affect other clients.

mod bodies;
mod holdings;

use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;

use crate::client::Request;
use crate::eventually;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

/// All clients are limited, without a rate; the loopback proxy forwards their addresses.
pub(crate) const LIMITED: &str = "[rate_limit]\nrequests_per_second = 0\nexempt = []";
/// A resource that takes a body.
pub(crate) const CALCULATE: &str = "/api/v1/stateless/calculate";

/// The request, from this client address.
pub(crate) fn from(client: &str, request: Request) -> Request {
    request.header("x-forwarded-for", client)
}

/// The value of a metric.
#[track_caller]
pub(crate) fn figure(gateway: &TestGateway, series: &str) -> u64 {
    let metrics = gateway.metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} in\n{metrics}")).parse().expect("a number")
}

fn ejections(gateway: &TestGateway) -> u64 {
    let of = |reason| {
        format!("gateway_upstream_ejections_total{{pool=\"stateless\",reason=\"{reason}\"}}")
    };
    ["errors", "timeouts", "connections"]
        .into_iter()
        .map(|reason| figure(gateway, &of(reason)))
        .sum()
}

#[track_caller]
fn assert_no_ejection(gateway: &TestGateway) {
    assert_eq!(ejections(gateway), 0);
    let states =
        gateway.pool(PoolName::Stateless).instances.into_iter().map(|instance| instance.state);
    assert!(states.into_iter().all(|state| state == InstanceState::Healthy));
}

#[test]
fn failures_of_one_client_eject_no_instance_and_those_of_two_do() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).section(LIMITED).start();
    for act in [Act::Respond(500, Vec::new(), ""), Act::Close] {
        upstreams.iter().for_each(|upstream| upstream.act(act.clone()));
        for _ in 0..50 {
            assert!(gateway.send(&from("192.0.2.1", Request::post(INFO))).status >= 500);
        }
        assert_no_ejection(&gateway);
    }
    upstreams[1].act(Act::ok());
    upstreams[0].act(Act::Respond(500, Vec::new(), ""));
    for nth in 0..40 {
        let client = if nth / 2 % 2 == 0 { "192.0.2.1" } else { "192.0.2.2" };
        gateway.send(&from(client, Request::get(INFO)));
    }
    eventually("the failing instance is ejected", || (ejections(&gateway) == 1).then_some(()));
}

#[test]
fn aborted_requests_eject_no_instance_and_are_not_in_flight() {
    let upstream = Upstream::start("stateless-1");
    let other = Upstream::start("stateless-2");
    let gateway = Setup::new().stateless([&upstream, &other]).start();
    [&upstream, &other].into_iter().for_each(|upstream| upstream.act(Act::Hang));
    for _ in 0..3 {
        let sent = upstream.count() + other.count();
        let clients = gateway.start_many(20, &Request::get(INFO));
        eventually("all are sent", || {
            (upstream.count() + other.count() == sent + 20).then_some(())
        });
        drop(clients);
        eventually("none is in flight", || {
            let places = ["stateless-1", "stateless-2"].map(|name| {
                figure(
                    &gateway,
                    &format!(
                        "gateway_upstream_in_flight{{pool=\"stateless\",upstream=\"{name}\"}}"
                    ),
                )
            });
            (places == [0, 0]).then_some(())
        });
    }
    assert_no_ejection(&gateway);
    [&upstream, &other].into_iter().for_each(|upstream| upstream.act(Act::ok()));
    assert_eq!(gateway.send(&Request::get(INFO)).status, 200);
}

#[test]
fn an_instance_that_rejects_bodies_and_closes_is_not_ejected() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::RejectBody));
    for bytes in [50_000, 500_000] {
        for _ in 0..20 {
            let mut client = gateway.connect();
            client.write(
                &Request::new("POST", CALCULATE)
                    .header("content-length", &bytes.to_string())
                    .head(),
            );
            client.write_all(&vec![b'x'; bytes]);
            // The response may be lost when the instance resets the connection, which does not
            // count against it.
            client.try_reply();
        }
    }
    assert_no_ejection(&gateway);
}

/// The instance may time out on an unfinished body before the gateway does.
#[test]
fn an_instance_that_closes_before_the_body_ends_is_not_ejected() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::CloseUnread));
    for _ in 0..20 {
        let mut client = gateway.connect();
        client.write(&Request::new("POST", CALCULATE).header("content-length", "500000").head());
        client.write_all(&[b'x'; 100_000]);
        assert_eq!(client.reply_to("POST").status, 502);
    }
    assert_no_ejection(&gateway);
}

#[test]
fn rejected_upgrades_eject_no_instance() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    // This client is exempt from limits, so all of its failures would count.
    let gateway = Setup::new().stateful(&upstreams).start();
    let live =
        format!("{}/live", crate::testbed::session_path(proto_contracts::AffinityKey::random()));
    for status in [400, 426, 503] {
        let headers = if status == 503 { vec![("retry-after", "1")] } else { Vec::new() };
        upstreams
            .iter()
            .for_each(|upstream| upstream.act(Act::Respond(status, headers.clone(), "no")));
        for _ in 0..20 {
            let upgrade =
                Request::get(&live).header("connection", "upgrade").header("upgrade", "websocket");
            assert_eq!(gateway.send(&upgrade).status, status);
        }
    }
    for name in ["stateful-1", "stateful-2"] {
        assert_eq!(gateway.state_of(name), Some(InstanceState::Healthy));
    }
}
