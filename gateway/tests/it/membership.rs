//! Changes of membership: they move the theoretical minimum of keys.

use std::thread;

use proto_contracts::control::{Change, Event, Explanation, Instance, InstanceState};
use proto_contracts::{AffinityKey, ErrorCode, Verdict};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Health, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];
const KEYS: u32 = 10_000;

/// Keys of a fixed seed: odd multiples of a prime, which differ.
fn key(place: u32) -> AffinityKey {
    AffinityKey::from_bits(place.wrapping_mul(0x85eb_ca6b))
}

/// The home of each key, by `explain`.
fn homes(gateway: &TestGateway) -> Vec<String> {
    const READERS: u32 = 4;
    let query = |from: u32| {
        let mut client = gateway.connect_control();
        let host = gateway.control_addr.to_string();
        let homes = (from..from + KEYS / READERS).map(|place| {
            let path = format!("/control/v1/pools/stateful/explain?key={}", key(place));
            let explained: Explanation =
                client.send(&Request::get(&path).header("host", &host)).json();
            explained.ranking[0].name.to_string()
        });
        homes.collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|i| scope.spawn(move || query(i * KEYS / READERS))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect()
    })
}

fn explain(gateway: &TestGateway, key: AffinityKey, change: &str) -> Change {
    let path = format!("/control/v1/pools/stateful/explain?key={key}&{change}");
    gateway.request(Request::get(&path)).json::<Explanation>().change.expect("a change")
}

#[test]
fn a_new_instance_takes_its_share_and_returns_it_on_removal() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let (before, epoch) = (homes(&gateway), gateway.stateful().epoch);
    let predicted = explain(&gateway, key(0), "with=stateful-4");

    let new = Upstream::start("stateful-4");
    let added = gateway.add(new.addr());
    assert_eq!(
        (added.status, added.json::<Instance>().name),
        (201, Some("stateful-4".parse().expect("a name")))
    );
    gateway.wait_for("stateful-4", InstanceState::Healthy);
    let after = homes(&gateway);
    let moved: Vec<_> = (0..KEYS as usize).filter(|&place| before[place] != after[place]).collect();
    assert!(
        moved.iter().all(|&place| after[place] == "stateful-4"),
        "keys move only to the new instance"
    );
    let percent = moved.len() as f64 / f64::from(KEYS) * 100.0;
    assert!((22.0..=28.0).contains(&percent), "{percent} %");
    assert_eq!(gateway.stateful().epoch, predicted.epoch, "explain predicted the epoch");
    assert!((predicted.moved_percent - percent).abs() < 2.0, "{predicted:?}, {percent} % moved");
    for place in moved.iter().take(10).copied().chain(0..10) {
        let reply = gateway.send(&Request::get(&session_path(key(place as u32))));
        assert_eq!(
            (reply.served_by(), reply.verdict()),
            (after[place].as_str(), Verdict::Home),
            "requests go there too"
        );
    }
    let predicted = explain(&gateway, key(moved[0] as u32), "without=stateful-4");
    assert!(predicted.moves);
    assert_eq!(predicted.home.map(|name| name.to_string()).as_ref(), Some(&before[moved[0]]));

    assert_eq!(gateway.remove("stateful-4").status, 204);
    assert_eq!(homes(&gateway), before, "exactly those come back");
    assert_eq!((gateway.stateful().epoch, predicted.epoch), (epoch, epoch));
}

#[test]
fn an_instance_that_returns_on_another_port_moves_no_key() {
    let mut upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let epoch = gateway.stateful().epoch;
    let keys: Vec<_> = (0..300).map(key).collect();
    let homes = || keys.iter().map(|&key| gateway.ranking(key)[0].clone()).collect::<Vec<_>>();
    let before = homes();

    upstreams[1].leave();
    gateway.wait_for("stateful-2", InstanceState::Unhealthy);
    let returned = Upstream::start("stateful-2");
    assert_eq!(gateway.add(returned.addr()).status, 201);
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    assert_eq!(homes(), before);
    assert_eq!(gateway.stateful().epoch, epoch);
    let at_home = gateway.key_at("stateful-2");
    let reply = gateway.send(&Request::get(&session_path(at_home)));
    assert_eq!(
        (reply.verdict(), reply.served_by(), returned.count()),
        (Verdict::Home, "stateful-2", 1)
    );

    let old = upstreams[1].addr();
    let left = gateway
        .stateful()
        .instances
        .into_iter()
        .find(|instance| instance.addr == old)
        .expect("still known");
    assert_eq!(
        (left.name, left.state),
        (None, InstanceState::Pending),
        "the old address has no name"
    );
    assert_eq!(gateway.remove(&old.to_string()).status, 204, "it can be removed by address");
}

#[test]
fn two_gateways_with_the_same_names_agree() {
    let upstreams = Upstream::start_all(NAMES);
    let reversed: Vec<_> = upstreams.iter().rev().collect();
    let one = Setup::new().stateful(&upstreams).start();
    let other = Setup::new().stateful(reversed).start();
    assert_eq!(one.stateful().epoch, other.stateful().epoch);
    for place in 0..200 {
        let path = session_path(key(place));
        let (here, there) = (one.send(&Request::get(&path)), other.send(&Request::get(&path)));
        assert_eq!(here.served_by(), there.served_by());
        assert_eq!(here.stamp(), there.stamp());
        assert_eq!(one.ranking(key(place)), other.ranking(key(place)), "failover agrees too");
    }
}

#[test]
fn an_instance_with_a_members_name_is_rejected() {
    let upstreams = Upstream::start_all(NAMES);
    // A high threshold, so that timeouts on a busy machine do not free the name.
    let gateway = Setup::new().stateful(&upstreams).thresholds(100, 2).start();
    let impostor = Upstream::start("stateful-2");
    let reply = gateway.add(impostor.addr());
    assert_eq!((reply.status, reply.code()), (409, ErrorCode::InstanceExists));
    let detail = reply.problem().detail;
    let named =
        [impostor.addr().to_string(), upstreams[1].addr().to_string(), "stateful-2".to_owned()];
    assert!(
        named.iter().all(|part| detail.contains(part)) && detail.contains("INSTANCE_ID"),
        "{detail}"
    );
    assert_eq!(gateway.stateful().instances.len(), 3, "nothing was changed");
    let epoch = gateway.stateful().epoch;
    let again = gateway.add(upstreams[0].addr());
    let shown: Instance = again.json();
    assert_eq!(
        (again.status, shown.state),
        (200, InstanceState::Healthy),
        "adding it again changes nothing"
    );
    assert_eq!(shown.name, Some("stateful-1".parse().expect("a name")));
    assert_eq!((gateway.stateful().instances.len(), gateway.stateful().epoch), (3, epoch));
}

#[test]
fn an_instance_of_another_service_is_rejected_with_cause_and_cure() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().deployment("blue").stateful(&upstreams).start();
    let stranger = Upstream::start("stranger");
    let fine = [
        ("x-service", "stateful-svc"),
        ("x-service-protocol", "1"),
        ("x-service-version", "1.2.3"),
    ];
    let with = |name, value| {
        let rest = fine.into_iter().filter(|(other, _)| *other != name);
        Health::As(rest.chain([(name, value)]).collect())
    };
    for (health, reported) in [
        (with("x-service", "stateless-svc"), "Add it to the stateless pool"),
        (with("x-service", "gateway"), "Check address and port"),
        (with("x-service-protocol", "2"), "protocol 2 (version 1.2.3)"),
        (with("x-deployment", "green"), "deployment green, but this gateway to blue"),
        (Health::Nameless, "x-instance-id"),
    ] {
        stranger.health(health.clone());
        let reply = gateway.add(stranger.addr());
        assert_eq!((reply.status, reply.code()), (422, ErrorCode::WrongInstance), "{health:?}");
        let detail = reply.problem().detail;
        assert!(
            detail.contains(reported) && detail.contains(&stranger.addr().to_string()),
            "{detail}"
        );
        assert_eq!(gateway.stateful().instances.len(), 3, "nothing was changed");
    }
    let not_http = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = not_http.local_addr().expect("an address");
    let speaker = std::thread::spawn(move || {
        let (mut stream, _) = not_http.accept().expect("a check");
        std::io::Write::write_all(&mut stream, b"-ERR unknown command\r\n\r\n").expect("sends");
        let _until_it_closes = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    let reply = gateway.add(addr);
    assert_eq!((reply.status, reply.code()), (422, ErrorCode::WrongInstance));
    assert!(reply.problem().detail.contains("does not speak HTTP"), "{reply:?}");
    speaker.join().expect("no panic");
    stranger.health(Health::As(fine.into_iter().chain([("x-deployment", "blue")]).collect()));
    let added = gateway.add(stranger.addr());
    assert_eq!((added.status, added.json::<Instance>().version.as_deref()), (201, Some("1.2.3")));
}

#[test]
fn a_member_replaced_by_another_service_gets_no_requests() {
    let upstreams = Upstream::start_all(NAMES);
    // A threshold that this test does not reach.
    let gateway = Setup::new().stateful(&upstreams).thresholds(1_000, 2).start();
    let (key, epoch) = (gateway.key_at("stateful-2"), gateway.stateful().epoch);
    let mut events = gateway.listen("?types=instance_changed");
    upstreams[1]
        .health(Health::As(vec![("x-service", "stateless-svc"), ("x-service-protocol", "1")]));
    gateway.wait_for("stateful-2", InstanceState::WrongInstance);
    assert!(matches!(
        events.next(),
        Some(Event::InstanceChanged { state: InstanceState::WrongInstance, detail: Some(detail), .. })
            if detail.contains("stateless-svc")
    ));
    let before = upstreams[1].count();
    for _ in 0..20 {
        assert_eq!(gateway.send(&Request::get(&session_path(key))).verdict(), Verdict::Failover);
        assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200);
    }
    assert_eq!((upstreams[1].count(), gateway.stateful().epoch), (before, epoch));
    let rejected = |reason: &str| {
        let line = format!(r#"gateway_upstream_refused{{pool="stateful",reason="{reason}"}} "#);
        gateway.metrics().lines().find_map(|metric| metric.strip_prefix(&line).map(str::to_owned))
    };
    assert_eq!(
        (rejected("wrong_service").as_deref(), rejected("duplicate_name").as_deref()),
        (Some("1"), Some("0"))
    );
    let down = r#"gateway_upstream_healthy{pool="stateful",upstream="stateful-2"} 0"#;
    assert!(gateway.metrics().contains(down), "a replaced member is unhealthy as well");
    upstreams[1].health(Health::Well);
    gateway.wait_for("stateful-2", InstanceState::Healthy);
    assert_eq!(gateway.send(&Request::get(&session_path(key))).served_by(), "stateful-2");
}

#[test]
fn an_instance_without_identity_headers_is_accepted_by_default() {
    let upstreams = Upstream::start_all(NAMES);
    for upstream in &upstreams {
        upstream.health(Health::As(vec![]));
    }
    let lenient = Setup::new().stateful(&upstreams).start();
    assert_eq!(
        lenient.healthy(proto_contracts::PoolName::Stateful),
        3,
        "an older version, during an upgrade"
    );
    let strict =
        Setup::new().stateful(&upstreams).health("require_identity = true").start_unready();
    let rejected = eventually("all are rejected", || {
        let instances = strict.stateful().instances;
        let mut rejected = instances
            .into_iter()
            .filter(|instance| instance.state == InstanceState::WrongInstance)
            .collect::<Vec<_>>();
        (rejected.len() == 3).then(|| rejected.swap_remove(0))
    });
    assert!(rejected.last_error.is_some_and(|error| error.contains("require_identity = false")));
    let metrics = strict.metrics();
    assert!(
        !metrics.contains(r#"gateway_upstream_healthy{pool="stateful""#),
        "rejected, but not unhealthy: {metrics}"
    );
}

#[test]
fn an_instance_may_be_added_before_it_runs() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let mut late = Upstream::start("stateful-4");
    late.leave();
    let added: Instance = gateway.add(late.addr()).json();
    assert_eq!((added.name, added.state), (None, InstanceState::Pending));
    assert!(added.last_error.is_some(), "why it is not a member yet");
    late.come_back();
    gateway.wait_for("stateful-4", InstanceState::Healthy);
}

#[test]
fn removing_the_last_instance_requires_force() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    assert_eq!(gateway.remove("stateful-2").status, 204);
    let rejected = gateway.remove("stateful-1");
    assert_eq!((rejected.status, rejected.code()), (409, ErrorCode::LastInstance));
    let detail = rejected.problem().detail;
    assert!(
        detail.contains("stateful-1") && detail.contains("503") && detail.contains("force"),
        "{detail}"
    );
    assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200, "nothing was changed");
    assert_eq!(gateway.remove("stateful-1?force=maybe").code(), ErrorCode::InvalidQuery);
    assert_eq!(gateway.remove("stateful-1?force=true").status, 204);
    assert_eq!(gateway.send(&Request::post(SESSIONS)).code(), ErrorCode::NoInstanceAvailable);
}

#[test]
fn requests_in_flight_at_a_removed_instance_complete() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let key = gateway.key_at("stateful-1");
    upstreams[0].act(crate::upstream::Act::Hang);
    let mut client = gateway.connect();
    client.start(&Request::post(SESSIONS).key(key));
    eventually("the request has arrived", || (upstreams[0].count() == 1).then_some(()));
    assert_eq!(gateway.stateful().instances[0].in_flight, 1);
    assert_eq!(gateway.remove("stateful-1").status, 204);
    upstreams[0].act(crate::upstream::Act::ok());
    let reply = client.reply_to("POST");
    assert_eq!((reply.status, reply.served_by()), (200, "stateful-1"));
    assert_eq!(
        client.send(&Request::get(SESSIONS).key(key)).served_by(),
        "stateful-2",
        "the next one goes elsewhere"
    );
}
