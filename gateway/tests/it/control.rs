//! The control plane: authorization, and requests that it rejects.

use proto_contracts::control::{Explanation, Strategy};
use proto_contracts::{AffinityKey, ErrorCode};

use crate::client::Request;
use crate::testbed::{Setup, TOKEN, TestGateway};
use crate::upstream::Upstream;

const STRATEGY: &str = "/control/v1/pools/stateful/strategy";
const INSTANCES: &str = "/control/v1/pools/stateful/instances";

fn two_members() -> ([Upstream; 2], TestGateway) {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    (upstreams, gateway)
}

fn switch(body: &str) -> Request {
    Request::new("PUT", STRATEGY).json(body)
}

const ROUND_ROBIN: &str = "{\"strategy\":\"round_robin\"}";

#[test]
fn a_change_needs_the_token() {
    let (_upstreams, gateway) = two_members();
    for wrong in [None, Some("Bearer"), Some("Bearer wrong"), Some(TOKEN), Some("Basic YTpi")] {
        let changes = [
            switch(ROUND_ROBIN),
            Request::new("POST", INSTANCES).json("{\"addr\":\"127.0.0.1:1\"}"),
            Request::new("DELETE", &format!("{INSTANCES}/stateful-1")),
        ];
        for change in changes {
            let request =
                wrong.map_or(change.clone(), |value| change.header("authorization", value));
            let reply = gateway.request(request);
            assert_eq!((reply.status, reply.code()), (401, ErrorCode::Unauthorized), "{wrong:?}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    let pool = gateway.stateful();
    assert_eq!((pool.strategy, pool.instances.len()), (Strategy::Sticky, 2), "nothing was changed");
    assert_eq!(gateway.change(switch(ROUND_ROBIN)).status, 200);
}

#[test]
fn a_gateway_without_a_token_rejects_every_change() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).without_token().start();
    for value in ["Bearer ", "Bearer", &format!("Bearer {TOKEN}")] {
        let reply = gateway.request(switch(ROUND_ROBIN).header("authorization", value));
        assert_eq!((reply.status, reply.code()), (401, ErrorCode::Unauthorized));
    }
    assert_eq!(gateway.stateful().strategy, Strategy::Sticky);
}

#[test]
fn requests_with_a_foreign_host_are_rejected() {
    let (_upstreams, gateway) = two_members();
    let mut client = gateway.connect_control();
    for path in ["/control/v1/pools", "/metrics", "/health", "/readyz", "/no-such-path"] {
        for host in ["evil.test", "127.0.0.1.evil.test", "[::2]", "127.0.0.1@evil.test"] {
            let reply = client.send(&Request::get(path).header("host", host));
            assert_eq!(
                (reply.status, reply.code()),
                (421, ErrorCode::MisdirectedRequest),
                "{path} at {host}"
            );
        }
    }
    for host in ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8001"] {
        assert_eq!(
            client.send(&Request::get("/control/v1/pools").header("host", host)).status,
            200,
            "{host}"
        );
    }
}

#[test]
fn the_data_plane_does_not_serve_the_control_plane() {
    let (_upstreams, gateway) = two_members();
    for path in ["/control/v1/pools", "/metrics", "/readyz", "/livez"] {
        assert_eq!(gateway.send(&Request::get(path)).code(), ErrorCode::NotFound, "{path}");
    }
}

#[test]
fn unknown_and_malformed_parts_of_a_request_are_named() {
    let (_upstreams, gateway) = two_members();
    let put = |path: &str, body: &str| gateway.change(Request::new("PUT", path).json(body));
    let post = |body: &str| gateway.change(Request::new("POST", INSTANCES).json(body));
    for (reply, code, reported) in [
        (put("/control/v1/pools/other/strategy", ROUND_ROBIN), ErrorCode::PoolNotFound, "other"),
        (
            put(STRATEGY, "{\"strategy\":\"stickey\"}"),
            ErrorCode::InvalidBody,
            "`/strategy` must be one of",
        ),
        (put(STRATEGY, "{\"strategy\":\"sticky\",\"x\":1}"), ErrorCode::InvalidBody, "x"),
        (put(STRATEGY, "{}"), ErrorCode::InvalidBody, "strategy"),
        (put(STRATEGY, "[]"), ErrorCode::InvalidBody, "object"),
        (put(STRATEGY, "{"), ErrorCode::MalformedJson, "line 1"),
        (put(STRATEGY, ""), ErrorCode::InvalidBody, "strategy"),
        (post("{\"addr\":\"localhost:1\"}"), ErrorCode::InvalidBody, "addr"),
        (post("{\"addr\":7}"), ErrorCode::InvalidBody, "addr"),
        (post("{\"addr\":\"127.0.0.1:0\"}"), ErrorCode::InvalidInstance, "127.0.0.1:0"),
        (post("{\"addr\":\"0.0.0.0:80\"}"), ErrorCode::InvalidInstance, "0.0.0.0:80"),
        (gateway.remove("unknown"), ErrorCode::InstanceNotFound, "unknown"),
        (gateway.remove("127.0.0.1:1"), ErrorCode::InstanceNotFound, "127.0.0.1:1"),
        (gateway.remove("unknow%6e"), ErrorCode::InstanceNotFound, "unknown"),
        (gateway.remove("%00"), ErrorCode::BadRequest, "control character"),
        (gateway.remove("stateful-1%2fdrain"), ErrorCode::BadRequest, "slash"),
    ] {
        assert_eq!(reply.code(), code, "{reply:?}");
        assert!(
            reply.problem().detail.contains(reported),
            "{reported} in {}",
            reply.problem().detail
        );
    }
    let plain = Request::new("PUT", STRATEGY).body(ROUND_ROBIN.as_bytes());
    assert_eq!(gateway.change(plain).code(), ErrorCode::UnsupportedMediaType);
    let wrong_method = gateway.change(Request::post(STRATEGY));
    assert_eq!(
        (wrong_method.code(), wrong_method.header("allow")),
        (ErrorCode::MethodNotAllowed, Some("PUT, OPTIONS"))
    );
    assert_eq!(gateway.request(Request::get("/control/v2")).code(), ErrorCode::NotFound);
    assert_eq!(gateway.stateful().strategy, Strategy::Sticky, "none of these changed anything");
}

#[test]
fn explain_returns_the_whole_ranking_and_the_reason() {
    let (_upstreams, gateway) = two_members();
    let key = AffinityKey::from_bits(1);
    let explained = gateway.explain(key);
    assert_eq!((explained.key, explained.strategy), (key, Strategy::Sticky));
    assert_eq!(explained.ranking.iter().map(|ranked| ranked.rank).collect::<Vec<_>>(), [1, 2]);
    assert!(
        explained.ranking[0].score > explained.ranking[1].score,
        "the highest hash is the home"
    );
    assert_eq!(explained.choice.as_ref(), Some(&explained.ranking[0].name));
    assert!(explained.reason.contains("home") && explained.change.is_none());
    gateway.change(switch(ROUND_ROBIN));
    let ignored = gateway.explain(key);
    assert_eq!(ignored.ranking, explained.ranking);
    assert!(ignored.reason.contains("round_robin"), "{}", ignored.reason);
}

#[test]
fn explain_rejects_invalid_queries() {
    let (_upstreams, gateway) = two_members();
    for (query, status, code) in [
        ("", 400, ErrorCode::InvalidQuery),
        ("key=xyz", 400, ErrorCode::InvalidQuery),
        ("key=0000000A", 400, ErrorCode::InvalidQuery),
        ("key=0000000a&key=0000000b", 400, ErrorCode::InvalidQuery),
        ("key=0000000a&witout=stateful-1", 400, ErrorCode::InvalidQuery),
        ("key=0000000a&without=a%20b", 400, ErrorCode::InvalidQuery),
        ("key=0000000a&without=stateful-9", 404, ErrorCode::InstanceNotFound),
        ("key=0000000a&with=stateful-1", 409, ErrorCode::InstanceExists),
    ] {
        let reply =
            gateway.request(Request::get(&format!("/control/v1/pools/stateful/explain?{query}")));
        assert_eq!((reply.status, reply.code()), (status, code), "{query}");
    }
    assert_eq!(
        gateway.request(Request::get("/control/v1/pools/none/explain?key=0000000a")).code(),
        ErrorCode::PoolNotFound
    );
    let both = "/control/v1/pools/stateful/explain?key=0000000a&without=stateful-1&with=stateful-3";
    let change =
        gateway.request(Request::get(both)).json::<Explanation>().change.expect("a change");
    assert!(change.home.is_some_and(|home| home.as_str() != "stateful-1"));
}
