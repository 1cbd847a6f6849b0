//! The Prometheus metrics.

use proto_contracts::{AffinityKey, SessionId};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup};
use crate::upstream::Upstream;

#[test]
fn all_metrics_exist_and_no_label_has_a_session_id() {
    let (stateless, mut stateful) =
        (Upstream::start("stateless-1"), Upstream::start_all(["stateful-1", "stateful-2"]));
    stateful[0].report_sessions(4);
    let gateway = Setup::new().stateless([&stateless]).stateful(&stateful).checked_once().start();
    let id = SessionId::generate(gateway.key_at("stateful-2")).expose();
    stateful[1].leave();
    let mut client = gateway.connect();
    for request in [
        Request::get(INFO),
        Request::get(INFO),
        Request::post(SESSIONS).key(gateway.key_at("stateful-1")),
        Request::post(SESSIONS).header("cookie", "affinity=nonsense"),
        Request::get(&format!("{SESSIONS}/{id}/history")),
        Request::get(&format!("/{id}")),
        Request::get("/health"),
    ] {
        client.send(&request);
    }
    assert_eq!(gateway.send(&Request::new("BREW", INFO)).status, 405);
    // A request is measured after its response is sent.
    let last = [
        "http_response_status_code=\"200\",http_route=\"local\"",
        "http_request_method=\"_OTHER\"",
        "gateway_refused_requests_total{fault=\"unknown_method\"} 1",
    ];
    let measured = |text: &String| last.iter().all(|series| text.contains(series));
    let text = eventually("all are measured", || Some(gateway.metrics()).filter(measured));
    for expected in [
        "gateway_affinity_total{pool=\"stateless\",verdict=\"off\"} 2",
        "gateway_affinity_total{pool=\"stateful\",verdict=\"home\"} 1",
        "gateway_affinity_total{pool=\"stateful\",verdict=\"spilled\"} 0",
        "gateway_upstream_retries_total{pool=\"stateless\"} 0",
        "gateway_pool_healthy_instances{pool=\"stateless\"} 1",
        "gateway_pool_strategy{pool=\"stateful\",strategy=\"sticky\"} 1",
        "gateway_pool_strategy{pool=\"stateful\",strategy=\"round_robin\"} 0",
        "gateway_upstream_healthy{pool=\"stateful\",upstream=\"stateful-1\"} 1",
        "gateway_upstream_ejected{pool=\"stateful\",upstream=\"stateful-1\"} 0",
        "gateway_upstream_in_flight{pool=\"stateful\",upstream=\"stateful-1\"} 0",
        "gateway_upstream_requests{pool=\"stateless\",upstream=\"stateless-1\"} 2",
        "gateway_upstream_connect_failures{pool=\"stateless\",upstream=\"stateless-1\"} 0",
        "gateway_upstream_live_sessions{pool=\"stateful\",upstream=\"stateful-1\"} 4",
        "http_route=\"/api/v1/stateful/sessions/{session_id}/history\"",
        "gateway_refused_requests_total{fault=\"unknown_method\"} 1",
        "http_request_method=\"_OTHER\"",
        "http_response_status_code=\"404\"",
        "http_server_active_requests",
    ] {
        assert!(text.contains(expected), "{expected} in:\n{text}");
    }
    let count = |start: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} in:\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(count("gateway_affinity_total{pool=\"stateful\",verdict=\"failover\"}") >= 1.0);
    assert!(
        count("gateway_upstream_connect_failures{pool=\"stateful\",upstream=\"stateful-2\"}")
            >= 1.0
    );
    assert!(count("gateway_upstream_retries_total{pool=\"stateful\"}") >= 1.0);
    assert!(!text.contains(&id) && !text.contains(&id[9..]), "a session id is a secret");
}

#[test]
fn a_removed_instance_has_no_series() {
    let stateful = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&stateful).start();
    assert!(gateway.metrics().contains("upstream=\"stateful-2\""));
    assert_eq!(gateway.remove("stateful-2").status, 204);
    let text = gateway.metrics();
    assert!(
        !text.contains("upstream=\"stateful-2\"") && text.contains("upstream=\"stateful-1\""),
        "{text}"
    );
}

#[test]
fn requests_in_flight_are_counted_while_they_last() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    upstream.act(crate::upstream::Act::Hang);
    let mut clients = [gateway.connect(), gateway.connect()];
    clients
        .iter_mut()
        .for_each(|client| client.start(&Request::get(SESSIONS).key(AffinityKey::from_bits(1))));
    eventually("both have arrived", || (upstream.count() == 2).then_some(()));
    assert_eq!(gateway.stateful().instances[0].in_flight, 2);
    upstream.act(crate::upstream::Act::ok());
    clients.iter_mut().for_each(|client| assert_eq!(client.reply_to("GET").status, 200));
    eventually("none is left", || (gateway.stateful().instances[0].in_flight == 0).then_some(()));
}

#[test]
fn the_metrics_listener_serves_nothing_else() {
    let stateful = Upstream::start("stateful-1");
    let gateway =
        Setup::new().stateful([&stateful]).control("metrics_listen = '127.0.0.1:0'").start();
    let mut monitoring = gateway.connect_metrics();
    let scraped = monitoring.send(&Request::get("/metrics").header("host", "gateway:8003"));
    assert_eq!(scraped.status, 200);
    let text = String::from_utf8(scraped.body).expect("UTF-8");
    assert!(
        text.contains("gateway_upstream_healthy{pool=\"stateful\",upstream=\"stateful-1\"} 1"),
        "{text}"
    );
    assert_eq!(monitoring.send(&Request::get("/livez")).status, 200);
    for path in ["/control/v1/pools", "/control/v1/events", "/control/v1/openapi.json", "/"] {
        assert_eq!(monitoring.send(&Request::get(path)).status, 404, "{path}");
    }
    let drain = Request::post("/control/v1/pools/stateful/instances/stateful-1/drain");
    assert_eq!(monitoring.send(&drain).status, 404);
}

#[test]
fn an_empty_pool_has_metrics() {
    let gateway = Setup::new().start_unready();
    let text = gateway.metrics();
    for pool in ["stateless", "stateful"] {
        let zero = format!("gateway_pool_healthy_instances{{pool=\"{pool}\"}} 0");
        assert!(text.lines().any(|line| line == zero), "{zero} in:\n{text}");
    }
}
