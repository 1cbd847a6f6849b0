//! Path normalization: every spelling of a path is routed, limited and forwarded alike.

use proto_contracts::control::InstanceState;
use proto_contracts::{ErrorCode, PoolName, Verdict};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, session_path};
use crate::upstream::{Act, Upstream};

/// Percent-encodes every byte except slashes.
fn escaped(path: &str) -> String {
    path.bytes()
        .map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") })
        .collect()
}

#[test]
fn the_normalized_path_is_forwarded() {
    let (stateless, stateful) = (Upstream::start("stateless-1"), Upstream::start("stateful-1"));
    let gateway = Setup::new().stateless([&stateless]).stateful([&stateful]).start();
    for (sent, upstream, forwarded) in [
        (escaped(INFO), &stateless, INFO.to_owned()),
        (format!("{INFO}?a=%62%2f&c=%c3%a4"), &stateless, format!("{INFO}?a=%62%2f&c=%c3%a4")),
        (format!("{}?x=%2e%2e", escaped(INFO)), &stateless, format!("{INFO}?x=%2e%2e")),
        (format!("http://tandem.test{INFO}?a"), &stateless, format!("{INFO}?a")),
        (format!("http://TANDEM.test:80{}", escaped(INFO)), &stateless, INFO.to_owned()),
        (format!("{SESSIONS}/%2565/%6cive"), &stateful, format!("{SESSIONS}/%2565/live")),
        (
            format!("{SESSIONS}/a%2bb+c%c3%a4{{}}"),
            &stateful,
            format!("{SESSIONS}/a%2Bb+c%C3%A4%7B%7D"),
        ),
        (format!("{SESSIONS}//x"), &stateful, format!("{SESSIONS}//x")),
    ] {
        let before = upstream.count();
        assert_eq!(gateway.send(&Request::get(&sent)).status, 200, "{sent}");
        assert_eq!((upstream.count(), upstream.last().target), (before + 1, forwarded), "{sent}");
    }
    assert_eq!(gateway.send(&Request::get("/%68ealth")).body, b"healthy");
    for (sent, cause) in [
        (format!("{SESSIONS}/x/../y"), "'..'"),
        (format!("{SESSIONS}/x/%2E"), "'.'"),
        (format!("{SESSIONS}/x%2fevents"), "slash"),
        (format!("{SESSIONS}/x%5Cevents"), "backslash"),
        (format!("{SESSIONS}/x%0d%0a"), "control character"),
        (format!("{SESSIONS}/%c0%af"), "UTF-8"),
        (format!("{SESSIONS}/%4"), "hex digits"),
    ] {
        let seen = stateful.count();
        let reply = gateway.send(&Request::get(&sent));
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::BadRequest), "{sent}");
        assert!(reply.problem().detail.contains(cause), "{sent}: {:?}", reply.problem());
        assert_eq!(stateful.count(), seen, "{sent}");
    }
    let metrics = gateway.metrics();
    assert!(
        metrics.contains(r#"gateway_refused_requests_total{fault="dot_segment"} 2"#),
        "{metrics}"
    );
}

#[test]
fn streams_by_escaped_paths_eject_no_instance() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    // The timeout applies to requests, but not to streams.
    let gateway = Setup::new().stateful(&upstreams).retries("attempt_timeout_ms = 100").start();
    let key = gateway.key_at("stateful-1");
    upstreams[0].act(Act::Hang);
    let session = session_path(key);
    let spelt =
        ["/%65vents", "/event%73", "/%6cive", "/liv%65", "/%65%76%65%6e%74%73", "/%6C%69%76%65"];
    let streams: Vec<_> = spelt
        .iter()
        .map(|stream| {
            let mut client = gateway.connect();
            client.start(&Request::get(&format!("{session}{stream}")));
            client
        })
        .collect();
    crate::eventually("the instance has all of them", || {
        (upstreams[0].count() >= spelt.len()).then_some(())
    });
    // Far longer than six timeouts in a row.
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(gateway.state_of("stateful-1"), Some(InstanceState::Healthy));
    assert_eq!(upstreams[1].count(), 0, "no stream was tried elsewhere");
    assert!(
        upstreams[0]
            .targets()
            .iter()
            .all(|target| target.ends_with("/events") || target.ends_with("/live"))
    );
    drop(streams);
}

#[test]
fn an_escaped_session_id_has_the_same_home() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    for home in ["stateful-1", "stateful-2", "stateful-3"] {
        let session = session_path(gateway.key_at(home));
        for spelt in [
            escaped(&session),
            session.replacen("/sessions/", "/session%73/", 1),
            session.replace('-', "%2D"),
        ] {
            // The key in the header would be used if the one in the path were not recognized.
            let reply = gateway.send(&Request::get(&spelt).key(gateway.key_at("stateful-1")));
            assert_eq!((reply.served_by(), reply.verdict()), (home, Verdict::Home), "{spelt}");
        }
    }
}

#[test]
fn a_routes_body_limit_applies_to_every_spelling_of_its_path() {
    let upstream = Upstream::start("stateful-1");
    let limit = "[limits.route_body_bytes]\n\"/api/v1/stateful/conversations\" = 100";
    let gateway = Setup::new().stateful([&upstream]).section(limit).start();
    let path = "/api/v1/stateful/conversations";
    for spelt in
        [path, &escaped(path), "/%61pi/v1/stateful/conversation%73", "/api/state%66ul/conversation"]
    {
        let reply = gateway.send(&Request::new("POST", spelt).json(&format!("{:200}", "{}")));
        assert_eq!((reply.status, reply.code()), (413, ErrorCode::BodyTooLarge), "{spelt}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.healthy(PoolName::Stateful), 1);
}
