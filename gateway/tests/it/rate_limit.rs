//! Rate limits by client.

use proto_contracts::{AffinityKey, ErrorCode, headers};
use serde_json::json;
use service_kit::testing::issuer::{Issuer, claims, now, unsigned};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::Upstream;

/// A burst of five, then one per second.
const STRICT: &str = "[rate_limit]\nrequests_per_second = 1\nburst = 5\nexempt = []";

/// A burst of ten thousand, then one per second: the refill during a test is negligible.
const GENEROUS: &str = "[rate_limit]\nrequests_per_second = 1\nburst = 10000\nexempt = []";

fn limited(upstream: &Upstream, section: &str) -> TestGateway {
    Setup::new().stateless([upstream]).section(section).start()
}

fn from(address: &str) -> Request {
    Request::get(INFO).header(headers::FORWARDED_FOR, address)
}

#[test]
fn a_client_over_its_rate_gets_retry_after() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    let first = client.send(&from("192.0.2.1"));
    assert_eq!(first.header(headers::RATE_LIMIT_POLICY), Some(r#""client";q=5;w=5"#));
    assert_eq!(first.header(headers::RATE_LIMIT), Some(r#""client";r=4;t=1"#));
    let rejected = (0..100)
        .map(|_| client.send(&from("192.0.2.1")))
        .find(|reply| reply.status != 200)
        .expect("rejected");
    assert_eq!((rejected.status, rejected.code()), (429, ErrorCode::RateLimited));
    assert_eq!(rejected.header("retry-after"), Some("1"));
    assert!(
        rejected.header(headers::RATE_LIMIT).is_some_and(|left| left.contains(";r=0;")),
        "{rejected:?}"
    );
    let seen = upstream.count();
    assert_eq!(
        client.send(&from("192.0.2.2")).status,
        200,
        "the connection stays open, and other clients are not limited"
    );
    assert_eq!(upstream.count(), seen + 1);
    let counted = r#"gateway_requests_shed_total{pool="stateless",reason="client_rate"}"#;
    assert!(
        gateway.metrics().lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0"))
    );
}

#[test]
fn an_ipv6_64_network_is_one_client() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    let statuses: Vec<_> =
        (0..100).map(|i| client.send(&from(&format!("2001:db8::{i:x}"))).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(client.send(&from("2001:db8:0:1::1")).status, 200);
}

#[test]
fn clients_behind_an_exempt_proxy_are_not_exempt() {
    let upstream = Upstream::start("stateless-1");
    // The proxy is at loopback, which is trusted and exempt by default.
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 1\nburst = 5");
    let mut client = gateway.connect();
    assert!(
        (0..50).all(|_| client.send(&Request::get(INFO)).status == 200),
        "the proxy itself is exempt"
    );
    for hidden in ["unknown", "\u{ff}", "203.0.113.9, 203.0.113.9:port"] {
        let rejected =
            (0..100).map(|_| client.send(&from(hidden))).find(|reply| reply.status != 200);
        assert_eq!(rejected.expect("limited").status, 429, "{hidden:?}");
    }
    // A bad byte before the address that the proxy appended does not matter.
    let statuses: Vec<_> =
        (0..100).map(|_| client.send(&from("\u{ff}, 203.0.113.9")).status).collect();
    assert!(
        statuses[..5].iter().all(|status| *status == 200) && statuses.contains(&429),
        "{statuses:?}"
    );
}

#[test]
fn forged_forwarded_addresses_do_not_evade_the_limit() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]).server("trusted_proxies = []").section(STRICT);
    let gateway = setup.start();
    let statuses: Vec<_> =
        (0..50).map(|i| gateway.send(&from(&format!("198.51.100.{i}"))).status).collect();
    assert!(statuses.contains(&429), "the peer's address counts: {statuses:?}");
    // Behind a trusted proxy only the entry that the proxy appended counts.
    let gateway = limited(&upstream, STRICT);
    let forged = |i| from(&format!("198.51.100.{i}, 192.0.2.9"));
    let statuses: Vec<_> = (0..50).map(|i| gateway.send(&forged(i)).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// A read of this session from an address.
fn read(key: u32, address: &str) -> Request {
    let path = session_path(AffinityKey::from_bits(key));
    Request::get(&path).header(headers::FORWARDED_FOR, address)
}

/// The statuses of 50 such requests.
fn statuses(gateway: &TestGateway, request: impl Fn() -> Request) -> Vec<u16> {
    (0..50).map(|_| gateway.send(&request()).status).collect()
}

#[test]
fn sessions_that_share_an_address_have_limits_of_their_own() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).section(STRICT).start();
    let shared = |key| read(key, "192.0.2.1").header(headers::SHARED_ADDRESS, "1");
    assert!(statuses(&gateway, || shared(1)).contains(&429), "a session has a limit");
    assert_eq!(gateway.send(&shared(2)).status, 200, "and each its own");
    // Without a session the address counts, so it creates no more than one client may.
    let create = || {
        let from = Request::get(SESSIONS).header(headers::FORWARDED_FOR, "192.0.2.1");
        from.header(headers::SHARED_ADDRESS, "1")
    };
    assert!(statuses(&gateway, create).contains(&429));
    // Nor does another value mean anything.
    for value in ["", "0", "true", "1, 1"] {
        let other = || read(3, "192.0.2.7").header(headers::SHARED_ADDRESS, value);
        assert!(statuses(&gateway, other).contains(&429), "{value:?}");
        let next = read(4, "192.0.2.7").header(headers::SHARED_ADDRESS, value);
        assert_eq!(gateway.send(&next).status, 429, "{value:?}");
    }
}

#[test]
fn a_client_that_is_no_trusted_proxy_shares_no_address() {
    let upstream = Upstream::start("stateful-1");
    let setup = Setup::new().stateful([&upstream]).server("trusted_proxies = []").section(STRICT);
    let gateway = setup.start();
    let statuses: Vec<_> = (0..50)
        .map(|key| read(key, "192.0.2.1").header(headers::SHARED_ADDRESS, "1"))
        .map(|request| gateway.send(&request).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// A gateway that trusts this issuer.
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
fn users_behind_one_address_have_separate_rates() {
    let (issuer, upstream) = (Issuer::new(), Upstream::start("stateless-1"));
    let gateway = believing(&issuer, &upstream, GENEROUS);
    let (ada, bob) = (issuer.token("ada"), issuer.token("bob"));
    (0..50).for_each(|_| assert_eq!(gateway.send(&with(&ada, "192.0.2.1")).status, 200));
    assert!(left(&gateway, &with(&ada, "192.0.2.1")) < 9_999, "the same user");
    assert_eq!(left(&gateway, &with(&bob, "192.0.2.1")), 9_999, "another user");
    assert_eq!(left(&gateway, &from("192.0.2.1")), 9_999, "without a token the address counts");
}

#[test]
fn a_user_has_one_rate_for_all_addresses_and_tokens() {
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
fn with_an_invalid_token_the_address_is_limited() {
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
    assert!(left(&gateway, &twice) < 9_999, "two tokens count as none");
    assert_eq!(
        left(&gateway, &with(&good, "192.0.2.99")),
        9_999,
        "the valid token was not counted before"
    );
}

#[test]
fn without_a_jwt_key_tokens_are_ignored_and_exempt_addresses_stay_exempt() {
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
fn loopback_clients_are_exempt_by_default() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 1\nburst = 1");
    let mut client = gateway.connect();
    for _ in 0..20 {
        let reply = client.send(&Request::get(INFO));
        assert_eq!((reply.status, reply.header(headers::RATE_LIMIT)), (200, None));
    }
}

#[test]
fn the_limit_can_be_turned_off_and_never_applies_to_health() {
    let upstream = Upstream::start("stateless-1");
    let gateway = limited(&upstream, "[rate_limit]\nrequests_per_second = 0\nexempt = []");
    let mut client = gateway.connect();
    (0..150).for_each(|_| assert_eq!(client.send(&from("192.0.2.1")).status, 200));
    let gateway = limited(&upstream, STRICT);
    let mut client = gateway.connect();
    (0..20).for_each(|_| assert_eq!(client.send(&Request::get("/health")).status, 200));
}

#[test]
fn websocket_upgrades_carry_the_clients_rate_to_the_instance() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).section(STRICT).start();
    let live = format!("{}/live", session_path(AffinityKey::random()));
    let open = |gateway: &TestGateway, target: &str| {
        let request = Request::get(target).header(headers::FORWARDED_FOR, "192.0.2.1");
        gateway.send(&request.header(headers::CLIENT_RATE, "192.0.2.2;q=9;w=9"));
        upstream.last().header(headers::CLIENT_RATE).map(str::to_owned)
    };
    assert_eq!(open(&gateway, &live).as_deref(), Some("192.0.2.1;q=5;w=5"));
    assert_eq!(open(&gateway, SESSIONS), None, "only on upgrades");
    let unlimited =
        Setup::new().stateful([&upstream]).section("[rate_limit]\nrequests_per_second = 0").start();
    assert_eq!(open(&unlimited, &live), None, "not without a limit");
}
