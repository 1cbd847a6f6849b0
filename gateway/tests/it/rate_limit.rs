//! How often one client may come.

use proto_contracts::{ErrorCode, headers};

use crate::client::Request;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::Upstream;

/// Five requests at once, and then one a second.
const STRICT: &str = "[rate_limit]\nrequests_per_second = 1\nburst = 5\nexempt = []";

fn limited(upstream: &Upstream, section: &str) -> TestGateway {
    Setup::new().stateless([upstream]).section(section).start()
}

fn from(address: &str) -> Request {
    Request::get(INFO).header(headers::FORWARDED_FOR, address)
}

#[test]
fn a_client_that_comes_too_often_is_told_when_to_come_again() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    let first = client.send(&from("192.0.2.1"));
    assert_eq!(first.header(headers::RATE_LIMIT_POLICY), Some(r#""client";q=5;w=5"#));
    assert_eq!(first.header(headers::RATE_LIMIT), Some(r#""client";r=4;t=1"#));
    let refused = (0..100).map(|_| client.send(&from("192.0.2.1"))).find(|reply| reply.status != 200).expect("refused");
    assert_eq!((refused.status, refused.code()), (429, ErrorCode::RateLimited));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header(headers::RATE_LIMIT).is_some_and(|left| left.contains(";r=0;")), "{refused:?}");
    let seen = upstream.count();
    assert_eq!(
        client.send(&from("192.0.2.2")).status,
        200,
        "the connection lives, and another client is not concerned"
    );
    assert_eq!(upstream.count(), seen + 1);
    let counted = r#"gateway_requests_shed_total{pool="stateless",reason="client_rate"}"#;
    assert!(gateway.metrics().lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0")));
}

#[test]
fn one_network_of_version_six_is_one_client() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    let statuses: Vec<_> = (0..100).map(|i| client.send(&from(&format!("2001:db8::{i:x}"))).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(client.send(&from("2001:db8:0:1::1")).status, 200);
}

#[test]
fn a_client_cannot_escape_by_telling_other_addresses() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).server("trusted_proxies = []").section(STRICT);
    let gateway = setup.start();
    let statuses: Vec<_> = (0..50).map(|i| gateway.send(&from(&format!("198.51.100.{i}"))).status).collect();
    assert!(statuses.contains(&429), "the peer counts, whatever it says: {statuses:?}");
    // Behind a trusted proxy the entry that the proxy itself appended counts, not those before it.
    let gateway = limited(&upstream, STRICT);
    let forged = |i| from(&format!("198.51.100.{i}, 192.0.2.9"));
    let statuses: Vec<_> = (0..50).map(|i| gateway.send(&forged(i)).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn this_machine_is_not_limited_by_default() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 1\nburst = 1");
    let mut client = gateway.connect();
    for _ in 0..20 {
        let reply = client.send(&Request::get(INFO));
        assert_eq!((reply.status, reply.header(headers::RATE_LIMIT)), (200, None));
    }
}

#[test]
fn it_can_be_turned_off_and_health_is_never_limited() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 0\nexempt = []");
    let mut client = gateway.connect();
    (0..150).for_each(|_| assert_eq!(client.send(&from("192.0.2.1")).status, 200));
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    (0..20).for_each(|_| assert_eq!(client.send(&Request::get("/health")).status, 200));
}
