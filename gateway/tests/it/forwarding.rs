//! Forwarded headers, in both directions.

use proto_contracts::{AffinityKey, RequestId, Verdict, headers};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup};
use crate::upstream::{Act, Upstream};

const INTERNAL: [&str; 15] = [
    "x-affinity",
    "x-affinity-key",
    "x-session-affinity",
    "x-served-by",
    "x-instance-id",
    "x-live-sessions",
    "x-real-ip",
    "x-shared-address",
    "x-client-rate",
    "x-routing-strategy",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-prefix",
];

#[test]
fn internal_headers_of_a_client_do_not_reach_the_instances() {
    let (stateless, stateful) = (Upstream::start("stateless-1"), Upstream::start("stateful-1"));
    let gateway = Setup::new().stateless([&stateless]).stateful([&stateful]).start();
    for (path, upstream) in [(INFO, &stateless), (SESSIONS, &stateful)] {
        let forged = |request: Request, name: &&str| {
            request.header(name, "forged").header(&name.to_uppercase(), "forged")
        };
        let request = INTERNAL.iter().fold(Request::get(path), forged).header("x-custom", "kept");
        assert_eq!(gateway.send(&request).status, 200);
        let seen = upstream.last();
        let leaked: Vec<_> = seen
            .headers
            .iter()
            .filter(|(_, values)| values.iter().any(|v| v == "forged"))
            .collect();
        assert!(leaked.is_empty(), "{leaked:?} on {path}");
        assert_eq!(seen.header("x-custom"), Some("kept"));
    }
}

#[test]
fn without_a_host_the_clients_x_forwarded_host_is_dropped() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let mut client = gateway.connect();
    client
        .write(format!("GET {INFO} HTTP/1.0\r\nx-forwarded-host: forged.test\r\n\r\n").as_bytes());
    assert_eq!(client.reply_to("GET").status, 200);
    assert_eq!(upstream.last().header("x-forwarded-host"), None);
}

#[test]
fn the_connection_header_cannot_drop_the_gateways_headers() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let named = "keep-alive, x-affinity-key, x-session-affinity, x-request-id";
    let reply = gateway.send(&Request::get(SESSIONS).header("connection", named));
    let seen = upstream.last();
    assert_eq!(seen.header(headers::AFFINITY_KEY), Some(reply.key().to_string().as_str()));
    assert_eq!(seen.header(headers::SESSION_AFFINITY), Some(headers::SESSION_AFFINITY_REQUIRED));
    assert!(seen.header("connection").is_none_or(|value| !value.contains("x-")), "{seen:?}");
}

#[test]
fn x_forwarded_for_has_the_peer_address() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).server("trusted_proxies = []").start();
    let request = Request::get(SESSIONS)
        .header("host", "shop.test")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https");
    gateway.send(&request);
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
    assert_eq!(seen.header("host"), Some("shop.test"));
}

#[test]
fn x_forwarded_for_of_a_trusted_proxy_is_kept() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let proxied = || Request::get(SESSIONS).header("x-forwarded-proto", "https");
    gateway.send(&proxied().header("x-forwarded-for", "203.0.113.9"));
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
    // Some proxies add another header line instead of an entry.
    gateway.send(
        &proxied().header("x-forwarded-for", "forged").header("x-forwarded-for", "203.0.113.9"),
    );
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("203.0.113.9, 127.0.0.1"),
        "untrusted entries are dropped"
    );
    for (sent, seen) in [
        ("\u{ff}, 203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("1.1.1.1, \"[2001:DB8::9]:80\", 127.0.0.2,", "2001:db8::9, 127.0.0.2, 127.0.0.1"),
        ("203.0.113.9, unknown", "127.0.0.1"),
    ] {
        gateway.send(&proxied().header("x-forwarded-for", sent));
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(seen), "{sent}");
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"), "{sent}");
    }
    gateway.send(&proxied());
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn the_affinity_cookie_is_removed_and_others_are_forwarded() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    for (sent, kept) in [
        ("theme=dark; affinity=0000000c; lang=de", Some("theme=dark; lang=de")),
        ("affinity=0000000c", None),
        ("affinity=nonsense; affinity=0000000c", None),
        ("theme=dark", Some("theme=dark")),
    ] {
        gateway.send(&Request::get(SESSIONS).header("cookie", sent));
        assert_eq!(upstream.last().header("cookie"), kept, "{sent}");
    }
}

#[test]
fn responses_have_the_instance_and_the_routing_stamp() {
    let upstream = Upstream::start("stateful-1");
    upstream.report_sessions(3);
    let gateway = Setup::new().stateful([&upstream]).start();
    let key = AffinityKey::from_bits(0xfeed);
    upstream.act(Act::Respond(
        200,
        vec![("x-live-sessions", "3"), ("x-session-source", "redis")],
        "ok",
    ));
    let reply = gateway.send(&Request::get(SESSIONS).key(key));
    assert_eq!(reply.served_by(), "stateful-1");
    let stamp = reply.stamp();
    assert_eq!(
        (stamp.verdict, stamp.key, stamp.epoch),
        (Verdict::Home, Some(key), gateway.stateful().epoch)
    );
    assert_eq!((reply.header("x-instance-id"), reply.header("x-live-sessions")), (None, None));
    assert_eq!(reply.header("x-session-source"), Some("redis"), "the service's own header passes");
}

#[test]
fn routing_can_be_hidden_from_clients() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).server("expose_routing = false").start();
    // An instance cannot override it.
    upstream.act(Act::Respond(200, vec![("x-served-by", "me"), ("x-affinity", "home")], "ok"));
    for request in [Request::post(SESSIONS), Request::get("/no-such-path")] {
        let reply = gateway.send(&request);
        for name in ["x-served-by", "x-affinity", "x-instance-id"] {
            assert_eq!(reply.header(name), None, "{reply:?}");
        }
    }
    let seen = upstream.last();
    assert_eq!(
        seen.header(headers::SESSION_AFFINITY),
        Some(headers::SESSION_AFFINITY_REQUIRED),
        "instances still receive it"
    );
}

#[test]
fn the_request_id_of_a_client_reaches_the_instance_and_the_response() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let id = "0190b0e4-7d1c-7a52-9c41-0123456789ab";
    for sent in [id, &id.replace('-', ""), &id.to_uppercase()] {
        let reply = gateway.send(&Request::get(INFO).header("x-request-id", sent));
        assert_eq!(reply.header("x-request-id"), Some(id), "{sent}");
        assert_eq!(upstream.last().header("x-request-id"), Some(id));
    }
    for sent in
        ["", "1", "not-a-uuid", "0190b0e4-7d1c-7a52-9c41-0123456789ab; DROP", &"a".repeat(9_000)]
    {
        let reply = gateway.send(&Request::get(INFO).header("x-request-id", sent));
        let made = reply.header("x-request-id").expect("an id");
        assert!(RequestId::parse_bytes(made.as_bytes()).is_some() && made != sent, "{made}");
        assert_eq!(upstream.last().header("x-request-id"), Some(made));
    }
}

#[test]
fn status_body_and_method_pass_through_untouched() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let mut client = gateway.connect();
    for status in [200, 201, 404, 418, 500, 503] {
        upstream.act(Act::Respond(
            status,
            vec![("x-custom", "kept"), ("etag", "\"v1\"")],
            "the body",
        ));
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "HEAD"] {
            let reply = client
                .send(&Request::new(method, &format!("{SESSIONS}?a=b&c=%2F")).json("{\"a\":1}"));
            assert_eq!((reply.status, reply.header("etag")), (status, Some("\"v1\"")), "{method}");
            assert_eq!(reply.body, if method == "HEAD" { &b""[..] } else { b"the body" });
            let seen = upstream.last();
            assert_eq!((seen.method.as_str(), seen.body_bytes), (method, 7));
            assert_eq!(seen.target, format!("{SESSIONS}?a=b&c=%2F"));
        }
    }
}
