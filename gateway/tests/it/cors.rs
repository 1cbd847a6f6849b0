//! Pages of other origins.

use proto_contracts::{ErrorCode, headers};

use crate::client::{Reply, Request};
use crate::testbed::{INFO, SESSIONS, Setup};
use crate::upstream::{Act, Upstream};

const APP: &str = "https://app.example";
const SECTION: &str = "[cors]\nallowed_origins = ['https://other.example', 'https://app.example']";

const FIELDS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

fn page(method: &str, path: &str) -> Request {
    Request::new(method, path).header("origin", APP)
}

fn preflight(path: &str) -> Request {
    page("OPTIONS", path)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "content-type,if-match")
}

/// That the page can read the response, and its fields.
#[track_caller]
fn assert_readable(reply: &Reply) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(APP), "{reply:?}");
    assert_eq!(reply.header("vary"), Some("origin"), "{reply:?}");
    let exposed = reply.header("access-control-expose-headers").expect("a list");
    let exposed: Vec<_> = exposed.split(", ").collect();
    for (name, _) in &reply.headers {
        let is_known = ["content-type", "content-length", "cache-control", "date", "vary"]
            .contains(&&**name)
            || ["access-control-", "x-custom", "connection", "set-cookie", "transfer-encoding"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        assert!(is_known || exposed.contains(&&**name), "{name} is not exposed: {reply:?}");
    }
}

/// That the response does nothing for pages of other origins.
#[track_caller]
fn assert_closed(reply: &Reply, vary: Option<&str>) {
    for name in FIELDS {
        assert_eq!(reply.header(name), None, "{name}: {reply:?}");
    }
    assert_eq!(reply.header("vary"), vary, "{reply:?}");
}

#[test]
fn without_configuration_there_is_no_cors() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    for request in [page("GET", INFO), preflight(INFO), page("GET", "/no-such-path")] {
        assert_closed(&gateway.send(&request), None);
    }
    assert_eq!(upstream.last().method, "OPTIONS", "a preflight is a request like any other");
}

#[test]
fn a_page_of_a_listed_origin_can_read_each_response() {
    let upstreams = [Upstream::start("stateless-1"), Upstream::start("stateful-1")];
    let gateway = Setup::new()
        .stateless([&upstreams[0]])
        .stateful([&upstreams[1]])
        .section(SECTION)
        .section("[limits]\nmax_body_bytes = 9")
        .section("[rate_limit]\nrequests_per_second = 1\nburst = 12\nexempt = []")
        .start();
    upstreams[1].act(Act::Respond(201, vec![("etag", "\"1\""), ("location", "/x")], "ok"));
    let mut client = gateway.connect();
    for (request, status) in [
        (page("GET", INFO), 200),
        (page("HEAD", INFO), 200),
        (page("POST", SESSIONS).json("{}"), 201),
        (page("POST", SESSIONS).json("{\"long\":1}"), 413),
        (page("GET", "/no-such-path"), 404),
        (page("GET", "/health"), 200),
    ] {
        let reply = client.send(&request);
        assert_eq!(reply.status, status, "{reply:?}");
        assert_readable(&reply);
        assert_eq!(reply.header("access-control-allow-credentials"), None, "{reply:?}");
        assert_eq!(reply.header("access-control-allow-methods"), None, "{reply:?}");
        client = gateway.connect();
    }
    let limited = (0..100).map(|_| client.send(&page("GET", INFO))).find(|it| it.status != 200);
    let limited = limited.expect("the client is limited");
    assert_eq!(limited.code(), ErrorCode::RateLimited);
    assert!(limited.header(headers::RATE_LIMIT_POLICY).is_some(), "{limited:?}");
    assert_readable(&limited);
}

#[test]
fn an_instance_that_fails_is_reported_to_the_page() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).section(SECTION).checked_once().start();
    upstream.act(Act::Close);
    let reply = gateway.send(&page("POST", INFO));
    assert_eq!(reply.code(), ErrorCode::UpstreamFailed);
    assert_readable(&reply);
}

#[test]
fn a_request_that_is_rejected_unparsed_is_reported_to_the_page() {
    let gateway = Setup::new().section(SECTION).start();
    let origin = format!("origin: {APP}\r\n");
    let long = "a".repeat(60_000);
    let fields = "x: y\r\n".repeat(100);
    let send = |text: String| {
        let mut client = gateway.connect();
        client.write_all(text.as_bytes());
        client.reply_to("GET")
    };
    for (text, code) in [
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n{origin}\r\n"), ErrorCode::UriTooLong),
        (format!("GET / HTTP/1.1\r\n{origin}host: a\r\n{fields}\r\n"), ErrorCode::HeaderTooLarge),
        (format!("BREW / HTTP/1.1\r\nhost: a\r\n{origin}\r\n"), ErrorCode::MethodNotAllowed),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{origin}x y: z\r\n\r\n"), ErrorCode::BadRequest),
    ] {
        let reply = send(text);
        assert_eq!(reply.code(), code);
        assert_readable(&reply);
    }
    for origins in [
        "Origin: https://evil.example\r\n",
        "origin: https://evil.example\r\norigin: https://app.example\r\n",
        "origin: https://app.example\r\nOrigin: null\r\n",
        "x-origin: https://app.example\r\n",
        "host: b\r\n\r\norigin: https://app.example\r\n",
    ] {
        let reply = send(format!("BREW / HTTP/1.1\r\nhost: a\r\n{origins}\r\n"));
        assert_eq!(reply.code(), ErrorCode::MethodNotAllowed);
        assert_closed(&reply, Some("origin"));
    }
}

#[test]
fn the_gateway_responds_to_a_preflight() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        .stateless([&upstream])
        .section(&format!("{SECTION}\nallow_credentials = true\nmax_age_s = 7"))
        .section("[rate_limit]\nrequests_per_second = 1\nburst = 1\nexempt = []")
        .start();
    let mut client = gateway.connect();
    // For every path, and not counted by limits, since the request itself is.
    for path in [INFO, INFO, SESSIONS, "/health", "/no-such-path"] {
        let reply = client.send(&preflight(path));
        assert_eq!((reply.status, &reply.body[..]), (204, &b""[..]), "{reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(APP), "{reply:?}");
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{reply:?}");
        assert_eq!(reply.header("access-control-max-age"), Some("7"), "{reply:?}");
        assert_eq!(reply.header("vary"), Some("origin"), "{reply:?}");
        assert_eq!(reply.header("content-length"), None, "a 204 has none: {reply:?}");
        let list = |name: &str| -> Vec<String> {
            let list = reply.header(name).expect("a list");
            list.split(", ").map(str::to_owned).collect()
        };
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            assert!(list("access-control-allow-methods").contains(&method.to_owned()), "{reply:?}");
        }
        for name in [
            "authorization",
            "content-type",
            headers::IDEMPOTENCY_KEY,
            "if-match",
            "if-none-match",
            headers::AFFINITY_KEY,
            headers::LAST_EVENT_ID,
            headers::REQUEST_ID,
            headers::TRACEPARENT,
        ] {
            assert!(list("access-control-allow-headers").contains(&name.to_owned()), "{name}");
        }
    }
    assert_eq!(upstream.count(), 0, "no preflight was forwarded");
    // An ordinary OPTIONS, with an origin but no method, is forwarded.
    assert_eq!(client.send(&page("OPTIONS", INFO)).status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn other_origins_get_nothing() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).section(SECTION).start();
    let mut client = gateway.connect();
    for origin in [
        "null",
        "*",
        "",
        "https://app.example/",
        "https://app.example:443",
        "https://APP.example",
        "HTTPS://app.example",
        "http://app.example",
        "https://app.example.",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "https://evil.example/https://app.example",
        "https://sub.app.example",
        "https://app.example@evil.example",
        "https://app.example, https://app.example",
        "https://app.example https://evil.example",
        "https://app.exampl",
        "app.example",
    ] {
        for request in [
            Request::get(INFO).header("origin", origin),
            Request::get("/no-such-path").header("origin", origin),
            Request::new("OPTIONS", INFO)
                .header("origin", origin)
                .header("access-control-request-method", "GET"),
        ] {
            assert_closed(&client.send(&request), Some("origin"));
        }
    }
    let twice = page("GET", INFO).header("Origin", APP);
    assert_closed(&client.send(&twice), Some("origin"));
    let twice = page("GET", INFO).header("origin", "https://evil.example");
    assert_closed(&client.send(&twice), Some("origin"));
    // A cache must not serve this response to a page.
    assert_closed(&client.send(&Request::get(INFO)), Some("origin"));
    assert_eq!(upstream.last().headers.get("origin"), None);
}

#[test]
fn an_instance_cannot_open_the_api_to_others() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).section(SECTION).start();
    let own = vec![
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-secret"),
        ("x-custom", "kept"),
    ];
    upstream.act(Act::Respond(200, own, "ok"));
    let reply = gateway.send(&page("GET", INFO));
    assert_readable(&reply);
    assert_eq!(reply.header("access-control-allow-credentials"), None, "{reply:?}");
    assert_eq!(reply.header("x-custom"), Some("kept"));
    assert_closed(&gateway.send(&Request::get(INFO).header("origin", "null")), Some("origin"));
}

#[test]
fn a_reload_changes_the_origins() {
    let upstream = Upstream::start("stateless-1");
    let setup = Setup::new().stateless([&upstream]);
    let gateway = setup.start();
    assert_closed(&gateway.send(&page("GET", INFO)), None);
    let reload = || gateway.change(Request::new("POST", "/control/v1/reload"));
    gateway.rewrite(&setup.clone().section(SECTION));
    assert_eq!(reload().status, 200);
    assert_readable(&gateway.send(&page("GET", INFO)));
    gateway.rewrite(&setup.clone().section("[cors]\nallowed_origins = ['*']"));
    let problem = reload().problem();
    assert_eq!(problem.code, ErrorCode::InvalidConfig);
    assert!(problem.detail.contains("[cors] allowed_origins has \"*\""), "{problem:?}");
    assert_readable(&gateway.send(&page("GET", INFO)));
}
