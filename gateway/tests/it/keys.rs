//! The sources of a request's affinity key, and the affinity cookie.

use proto_contracts::{AffinityKey, Verdict, headers};

use crate::client::{Reply, Request};
use crate::testbed::{SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

const IN_PATH: AffinityKey = AffinityKey::from_bits(0xa);
const IN_HEADER: AffinityKey = AffinityKey::from_bits(0xb);
const IN_COOKIE: AffinityKey = AffinityKey::from_bits(0xc);

fn one_instance() -> (Upstream, TestGateway) {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    (upstream, gateway)
}

fn with_cookie(request: Request, key: AffinityKey) -> Request {
    request.header("cookie", &format!("theme=dark; affinity={key}; lang=de"))
}

#[test]
fn the_path_wins_over_the_header_and_the_header_over_the_cookie() {
    let (upstream, gateway) = one_instance();
    let path = session_path(IN_PATH);
    for (request, expected) in [
        (with_cookie(Request::get(&path).key(IN_HEADER), IN_COOKIE), IN_PATH),
        (with_cookie(Request::get(SESSIONS).key(IN_HEADER), IN_COOKIE), IN_HEADER),
        (with_cookie(Request::get(SESSIONS), IN_COOKIE), IN_COOKIE),
    ] {
        let reply = gateway.send(&request);
        assert_eq!((reply.verdict(), reply.key()), (Verdict::Home, expected));
        assert_eq!(
            reply.header("set-cookie"),
            None,
            "a key from path or header never rewrites the cookie"
        );
        let seen = upstream.last();
        assert_eq!(
            seen.header(headers::AFFINITY_KEY),
            Some(expected.to_string().as_str()),
            "the gateway's header, once"
        );
        assert_eq!(
            seen.header(headers::SESSION_AFFINITY),
            Some(headers::SESSION_AFFINITY_REQUIRED)
        );
    }
}

#[test]
fn malformed_keys_are_replaced_with_the_verdict_invalid() {
    let (_upstream, gateway) = one_instance();
    let long = "0".repeat(60_000);
    for bad in [
        "",
        "0000000C",
        "0000000",
        "000000000",
        "0000000g",
        "../../etc",
        "\"0000000c\"",
        "ä",
        &long,
    ] {
        for request in [
            Request::get(SESSIONS).header(headers::AFFINITY_KEY, bad),
            Request::get(SESSIONS).header("cookie", &format!("affinity={bad}")),
        ] {
            let reply = gateway.send(&request);
            assert_eq!((reply.status, reply.verdict()), (200, Verdict::Invalid), "{bad:.20}");
            assert_eq!(reply.cookie_key(), Some(reply.key()), "a new key, set as cookie");
        }
    }
}

#[test]
fn a_malformed_session_id_is_no_source_of_the_key() {
    let (_upstream, gateway) = one_instance();
    for bad in ["x", "0000000a-short", "0000000A-00112233445566778899aabbccddeeff", "%30000000a"] {
        let request = with_cookie(Request::get(&format!("{SESSIONS}/{bad}/history")), IN_COOKIE);
        assert_eq!(gateway.send(&request).key(), IN_COOKIE, "{bad}");
    }
}

#[test]
fn of_several_keys_the_first_well_formed_one_is_used() {
    let (_upstream, gateway) = one_instance();
    let key = |request: Request| gateway.send(&request).key();
    let get = || Request::get(SESSIONS);
    assert_eq!(
        key(get().header("cookie", "affinity=nonsense").header("cookie", "a=b; affinity=0000000c")),
        IN_COOKIE
    );
    assert_eq!(
        key(with_cookie(get().header(headers::AFFINITY_KEY, "nonsense"), IN_COOKIE)),
        IN_COOKIE
    );
    assert_eq!(key(get().key(IN_HEADER).key(IN_COOKIE)), IN_HEADER);
    let resembling =
        gateway.send(&get().header("cookie", "xaffinity=0000000c; affinity2=0000000c; affinity"));
    assert_eq!(resembling.verdict(), Verdict::New, "these are other cookies");
}

#[test]
fn the_cookie_is_same_site_and_http_only() {
    let (_upstream, gateway) = one_instance();
    let reply = gateway.send(&Request::post(SESSIONS));
    let expected = format!("affinity={}; Path=/; HttpOnly; SameSite=Lax", reply.key());
    assert_eq!(reply.header("set-cookie"), Some(expected.as_str()));
    for proto in ["http", "HTTPS?", "https, http", ""] {
        let reply = gateway.send(&Request::post(SESSIONS).header("x-forwarded-proto", proto));
        assert!(!cookie(&reply).contains("Secure"), "{proto:?}");
    }
}

#[test]
fn the_cookie_is_secure_when_a_trusted_proxy_reports_https() {
    let upstream = Upstream::start("stateful-1");
    for (trusted, ends) in
        [("['127.0.0.1/32']", "; SameSite=Lax; Secure"), ("['192.0.2.0/24']", "; SameSite=Lax")]
    {
        let setup =
            Setup::new().stateful([&upstream]).server(&format!("trusted_proxies = {trusted}"));
        let gateway = setup.start();
        let reply = gateway.send(&Request::post(SESSIONS).header("x-forwarded-proto", "https"));
        assert!(cookie(&reply).ends_with(ends), "trusting {trusted}: {}", cookie(&reply));
    }
}

#[test]
fn a_response_that_sets_the_cookie_is_not_for_a_shared_cache() {
    let (upstream, gateway) = one_instance();
    for (sent, kept) in [
        (None, "no-store"),
        (Some("public, max-age=60"), "no-store"),
        (Some("private, max-age=60"), "private, max-age=60"),
        (Some("no-store"), "no-store"),
    ] {
        upstream.act(Act::Respond(
            200,
            sent.map(|sent| ("cache-control", sent)).into_iter().collect(),
            "ok",
        ));
        let new = gateway.send(&Request::get(SESSIONS));
        assert_eq!(new.header("cache-control"), Some(kept), "the instance sent {sent:?}");
        let known = gateway.send(&Request::get(SESSIONS).key(IN_HEADER));
        assert_eq!(known.header("cache-control"), sent, "without a cookie the instance decides");
    }
}

#[test]
fn the_instances_own_cookies_are_kept() {
    let (upstream, gateway) = one_instance();
    upstream.act(Act::Respond(200, vec![("set-cookie", "theme=dark")], "ok"));
    let reply = gateway.send(&Request::get(SESSIONS));
    let cookies = reply.all("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(cookies[0], "theme=dark");
    assert!(cookies[1].starts_with("affinity="), "{cookies:?}");
}

fn cookie(reply: &Reply) -> &str {
    reply.header("set-cookie").expect("a new client gets a cookie")
}
