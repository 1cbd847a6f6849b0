//! How often one client may come.

use proto_contracts::{AffinityKey, ErrorCode, headers};
use serde_json::json;
use service_kit::testing::issuer::{Issuer, claims, now, unsigned};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::Upstream;

/// Five requests at once, and then one a second.
const STRICT: &str = "[rate_limit]\nrequests_per_second = 1\nburst = 5\nexempt = []";

/// Ten thousand at once and one a second: what grows back within a test is little beside what the
/// test takes.
const GENEROUS: &str = "[rate_limit]\nrequests_per_second = 1\nburst = 10000\nexempt = []";

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
    let refused = (0..100)
        .map(|_| client.send(&from("192.0.2.1")))
        .find(|reply| reply.status != 200)
        .expect("refused");
    assert_eq!((refused.status, refused.code()), (429, ErrorCode::RateLimited));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        refused.header(headers::RATE_LIMIT).is_some_and(|left| left.contains(";r=0;")),
        "{refused:?}"
    );
    let seen = upstream.count();
    assert_eq!(
        client.send(&from("192.0.2.2")).status,
        200,
        "the connection lives, and another client is not concerned"
    );
    assert_eq!(upstream.count(), seen + 1);
    let counted = r#"gateway_requests_shed_total{pool="stateless",reason="client_rate"}"#;
    assert!(
        gateway.metrics().lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0"))
    );
}

#[test]
fn one_network_of_version_six_is_one_client() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    let statuses: Vec<_> =
        (0..100).map(|i| client.send(&from(&format!("2001:db8::{i:x}"))).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(client.send(&from("2001:db8:0:1::1")).status, 200);
}

#[test]
fn a_client_that_a_proxy_does_not_name_is_not_exempt_as_the_proxy_is() {
    let upstream = Upstream::start("stateless-1");
    // The proxy is at loopback, which is trusted and exempt by default.
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 1\nburst = 5");
    let mut client = gateway.connect();
    assert!(
        (0..50).all(|_| client.send(&Request::get(INFO)).status == 200),
        "the proxy itself is exempt"
    );
    for hidden in ["unknown", "\u{ff}", "203.0.113.9, 203.0.113.9:port"] {
        let refused =
            (0..100).map(|_| client.send(&from(hidden))).find(|reply| reply.status != 200);
        assert_eq!(refused.expect("limited").status, 429, "{hidden:?}");
    }
    // One bad byte before the address that the proxy wrote hides nobody.
    let statuses: Vec<_> =
        (0..100).map(|_| client.send(&from("\u{ff}, 203.0.113.9")).status).collect();
    assert!(
        statuses[..5].iter().all(|status| *status == 200) && statuses.contains(&429),
        "{statuses:?}"
    );
}

#[test]
fn a_client_cannot_escape_by_telling_other_addresses() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).server("trusted_proxies = []").section(STRICT);
    let gateway = setup.start();
    let statuses: Vec<_> =
        (0..50).map(|i| gateway.send(&from(&format!("198.51.100.{i}"))).status).collect();
    assert!(statuses.contains(&429), "the peer's address counts: {statuses:?}");
    // Behind a trusted proxy the entry that the proxy itself appended counts, not those before it.
    let gateway = limited(&upstream, STRICT);
    let forged = |i| from(&format!("198.51.100.{i}, 192.0.2.9"));
    let statuses: Vec<_> = (0..50).map(|i| gateway.send(&forged(i)).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// A gateway that believes this issuer.
fn believing(issuer: &Issuer, upstream: &Upstream, section: &str) -> TestGateway {
    Setup::new().stateless([upstream]).section(section).jwt_public_key(issuer.pem()).start()
}

fn with(token: &str, address: &str) -> Request {
    from(address).header("authorization", &format!("Bearer {token}"))
}

/// The remaining requests in this response.
fn left(gateway: &TestGateway, request: &Request) -> u32 {
    let reply = gateway.send(request);
    let reported = reply.header(headers::RATE_LIMIT).expect("a limited client");
    let left = reported.split(';').find_map(|field| field.strip_prefix("r="));
    left.and_then(|left| left.parse().ok()).expect("a number")
}

#[test]
fn two_users_behind_one_address_have_a_rate_each() {
    let (issuer, upstream) = (Issuer::new(), Upstream::start("stateless-1"));
    let gateway = believing(&issuer, &upstream, GENEROUS);
    let (ada, bob) = (issuer.token("ada"), issuer.token("bob"));
    (0..50).for_each(|_| assert_eq!(gateway.send(&with(&ada, "192.0.2.1")).status, 200));
    assert!(left(&gateway, &with(&ada, "192.0.2.1")) < 9_999, "it has come before");
    assert_eq!(left(&gateway, &with(&bob, "192.0.2.1")), 9_999, "another user");
    assert_eq!(left(&gateway, &from("192.0.2.1")), 9_999, "who has no token is the address");
}

#[test]
fn a_user_has_one_rate_wherever_it_comes_from_and_with_whatever_token() {
    let (issuer, upstream) = (Issuer::new(), Upstream::start("stateless-1"));
    let gateway = believing(&issuer, &upstream, STRICT);
    let mut later = claims("ada");
    later["exp"] = json!(now() + 7200);
    let tokens = [issuer.token("ada"), issuer.sign(&json!({"alg": "Ed25519"}), &later)];
    let statuses: Vec<_> = (0..100)
        .map(|i| gateway.send(&with(&tokens[i % 2], &format!("198.51.100.{i}"))).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn a_token_that_is_not_good_earns_no_rate_of_its_own() {
    let (issuer, forger, upstream) = (Issuer::new(), Issuer::new(), Upstream::start("stateless-1"));
    let gateway = believing(&issuer, &upstream, GENEROUS);
    let header = json!({"alg": "EdDSA", "typ": "JWT"});
    let claim = |name: &str, value: serde_json::Value| {
        let mut claims = claims("ada");
        claims[name] = value;
        issuer.sign(&header, &claims)
    };
    let good = issuer.token("ada");
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let bad = [
        forger.token("ada"),
        claim("exp", json!(now() - 3_600)),
        claim("nbf", json!(now() + 3_600)),
        claim("iss", json!("another")),
        claim("aud", json!("another")),
        claim("sub", json!("")),
        format!("{}.", unsigned(&json!({"alg": "none"}), &claims("ada"))),
        format!("{signed}.AAAA"),
        format!("{good} {good}"),
        "x".repeat(5_000),
        "hunter2".to_owned(),
    ];
    for (i, token) in bad.iter().enumerate() {
        let address = format!("192.0.2.{i}");
        (0..50).for_each(|_| assert_eq!(gateway.send(&from(&address)).status, 200));
        assert!(left(&gateway, &with(token, &address)) < 9_999, "the address's rate, for {token}");
    }
    (0..50).for_each(|_| assert_eq!(gateway.send(&from("192.0.2.99")).status, 200));
    let twice = with(&good, "192.0.2.99").header("authorization", &format!("Bearer {good}"));
    assert!(left(&gateway, &twice) < 9_999, "of two, none counts");
    assert_eq!(
        left(&gateway, &with(&good, "192.0.2.99")),
        9_999,
        "and the good one was never counted"
    );
}

#[test]
fn without_a_key_only_addresses_count_and_an_exempt_one_is_exempt_with_any_token() {
    let (issuer, upstream) = (Issuer::new(), Upstream::start("stateless-1"));
    let gateway = limited(&upstream, GENEROUS);
    (0..50).for_each(|_| assert_eq!(gateway.send(&from("192.0.2.1")).status, 200));
    assert!(left(&gateway, &with(&issuer.token("ada"), "192.0.2.1")) < 9_999);
    let gateway = believing(&issuer, &upstream, "[rate_limit]\nrequests_per_second = 1\nburst = 1");
    for _ in 0..20 {
        let reply = gateway.send(&with(&issuer.token("ada"), "127.0.0.1"));
        assert_eq!((reply.status, reply.header(headers::RATE_LIMIT)), (200, None));
    }
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

#[test]
fn an_instance_learns_by_which_rate_to_count_the_messages_of_a_websocket() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).section(STRICT).start();
    let live = format!("{}/live", session_path(AffinityKey::random()));
    let open = |gateway: &TestGateway, target: &str| {
        let request = Request::get(target).header(headers::FORWARDED_FOR, "192.0.2.1");
        gateway.send(&request.header(headers::CLIENT_RATE, "192.0.2.2;q=9;w=9"));
        upstream.last().header(headers::CLIENT_RATE).map(str::to_owned)
    };
    assert_eq!(open(&gateway, &live).as_deref(), Some("192.0.2.1;q=5;w=5"));
    assert_eq!(open(&gateway, SESSIONS), None, "only there are messages");
    let unlimited =
        Setup::new().stateful([&upstream]).section("[rate_limit]\nrequests_per_second = 0").start();
    assert_eq!(open(&unlimited, &live), None, "who is not limited may send anything");
}
