//! What the control plane passes on to a traffic driver, and what it does not.

use proto_contracts::ErrorCode;
use proto_contracts::control::{DRIVER_TRAFFIC_PATH, Traffic, TrafficSettings};
use serde_json::{Value, json};

use crate::client::{Reply, Request};
use crate::testbed::{DRIVER_TOKEN, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

const TRAFFIC: &str = "/control/v1/traffic";
const RUNNING: &str = r#"{"driver": true, "running": true, "settings": {"clients": 3,
    "stateless_percent": 30, "reads_percent": 70, "think_time_ms": 250, "clients_per_address": 1,
    "cookie_jar": false}, "sessions": 3, "pools": [{"pool": "stateful", "requests_per_s": 11.5,
    "requests": 70, "failures": [{"kind": "connect", "count": 2}]}]}"#;

fn start() -> (Upstream, TestGateway) {
    let driver = Upstream::start("driver");
    driver.act(Act::Respond(200, vec![], RUNNING));
    let gateway = Setup::new().driver(driver.addr()).start();
    (driver, gateway)
}

fn put(gateway: &TestGateway, body: &str) -> Reply {
    gateway.change(Request::new("PUT", TRAFFIC).json(body))
}

fn settings() -> Value {
    serde_json::to_value(TrafficSettings::default()).expect("JSON")
}

#[test]
fn start_change_and_stop_reach_the_driver_with_its_own_token() {
    let (driver, gateway) = start();
    let shown: Traffic = serde_json::from_str(RUNNING).expect("its type");
    for (request, method, body) in [
        (Request::get(TRAFFIC), "GET", None),
        (Request::new("PUT", TRAFFIC).json(&settings().to_string()), "PUT", Some(settings())),
        (Request::new("DELETE", TRAFFIC), "DELETE", None),
    ] {
        let reply = gateway.change(request);
        assert_eq!((reply.status, reply.json::<Traffic>()), (200, shown.clone()), "{method}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let seen = driver.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, DRIVER_TRAFFIC_PATH));
        assert_eq!(
            seen.header("authorization"),
            Some(format!("Bearer {DRIVER_TOKEN}").as_str()),
            "not the operator's token"
        );
        let sent: Option<Value> = serde_json::from_slice(&seen.body).ok();
        assert_eq!(sent, body, "{method}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(DRIVER_TOKEN));
    }
}

#[test]
fn only_a_read_needs_no_token() {
    let (driver, gateway) = start();
    assert_eq!(gateway.request(Request::get(TRAFFIC)).status, 200);
    let before = driver.targets().len();
    for request in [
        Request::new("PUT", TRAFFIC).json(&settings().to_string()),
        Request::new("DELETE", TRAFFIC),
    ] {
        assert_eq!(gateway.request(request.clone()).code(), ErrorCode::Unauthorized);
        let with_the_drivers = request.header("authorization", &format!("Bearer {DRIVER_TOKEN}"));
        assert_eq!(gateway.request(with_the_drivers).code(), ErrorCode::Unauthorized);
    }
    assert_eq!(driver.targets().len(), before, "the driver was not asked");
}

#[test]
fn settings_that_are_out_of_bounds_never_reach_the_driver() {
    let (driver, gateway) = start();
    let changed = |field: &str, value: Value| {
        let mut settings = settings();
        settings[field] = value;
        settings.to_string()
    };
    for (body, pointer) in [
        (changed("clients", json!(0)), "/clients"),
        (changed("clients", json!(201)), "/clients"),
        (changed("clients", json!(65_536)), "/clients"),
        (changed("clients", json!(-1)), "/clients"),
        (changed("clients", json!("20")), "/clients"),
        (changed("think_time_ms", json!(0)), "/think_time_ms"),
        (changed("think_time_ms", json!(4_294_967_296_u64)), "/think_time_ms"),
        (changed("stateless_percent", json!(101)), "/stateless_percent"),
        (changed("reads_percent", json!(50.5)), "/reads_percent"),
        (changed("clients_per_address", json!(0)), "/clients_per_address"),
        (changed("cookie_jar", json!(1)), "/cookie_jar"),
        (changed("target", json!("http://192.0.2.7")), "/target"),
    ] {
        let reply = put(&gateway, &body);
        let problem = reply.problem();
        assert_eq!((reply.status, problem.code), (422, ErrorCode::InvalidBody), "{body}");
        let pointers: Vec<_> =
            problem.errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(pointers, [pointer], "{body}");
    }
    for (body, code) in [
        ("{", ErrorCode::MalformedJson),
        ("[]", ErrorCode::InvalidBody),
        ("{}", ErrorCode::InvalidBody),
    ] {
        assert_eq!(put(&gateway, body).code(), code, "{body}");
    }
    let query = Request::new("PUT", &format!("{TRAFFIC}?force=1")).json(&settings().to_string());
    assert_eq!(gateway.change(query).code(), ErrorCode::InvalidQuery);
    assert!(driver.targets().is_empty(), "{:?}", driver.targets());
}

#[test]
fn a_gateway_without_a_driver_says_so() {
    let gateway = Setup::new().start();
    let traffic: Traffic = gateway.request(Request::get(TRAFFIC)).json();
    assert_eq!(traffic, Traffic::without_driver());
    for request in [
        Request::new("PUT", TRAFFIC).json(&settings().to_string()),
        Request::new("DELETE", TRAFFIC),
    ] {
        assert_eq!(gateway.change(request).code(), ErrorCode::NotFound);
    }
}

#[test]
fn a_driver_that_fails_is_named_and_its_problem_passed_on() {
    let (mut driver, gateway) = start();
    let problem = r#"{"type": "/docs/errors/invalid_body", "title": "Invalid body", "status": 422,
        "detail": "No.", "code": "invalid_body",
        "errors": [{"pointer": "/clients", "detail": "must be less"}]}"#;
    driver.act(Act::Respond(422, vec![("content-type", "application/problem+json")], problem));
    let passed_on = put(&gateway, &settings().to_string()).problem();
    assert_eq!((passed_on.code, &*passed_on.detail), (ErrorCode::InvalidBody, "No."));
    assert_eq!(passed_on.errors[0].pointer.as_deref(), Some("/clients"));

    let rejected = r#"{"type": "/docs/errors/unauthorized", "title": "x", "status": 401,
        "detail": "Send the token.", "code": "unauthorized"}"#;
    for (act, word) in [
        (Act::Respond(401, vec![], rejected), "DRIVER_TOKEN"),
        (Act::Respond(200, vec![], "no JSON"), "did not respond"),
        (Act::Respond(500, vec![], "no problem"), "did not respond"),
        (Act::Close, "did not respond"),
    ] {
        driver.act(act.clone());
        let failed = gateway.change(Request::get(TRAFFIC)).problem();
        assert_eq!(failed.code, ErrorCode::UpstreamFailed, "{act:?}");
        assert!(failed.detail.contains(word), "{act:?}: {}", failed.detail);
        assert!(!failed.detail.contains(DRIVER_TOKEN));
    }
    driver.leave();
    for request in [
        Request::get(TRAFFIC),
        Request::new("PUT", TRAFFIC).json(&settings().to_string()),
        Request::new("DELETE", TRAFFIC),
    ] {
        assert_eq!(gateway.change(request).code(), ErrorCode::UpstreamFailed);
    }
}
