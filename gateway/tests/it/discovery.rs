//! Instances that are found by a DNS name.

use std::net::{IpAddr, SocketAddr};

use proto_contracts::control::{Event, InstanceState};
use proto_contracts::{PoolName, Verdict};

use crate::client::Request;
use crate::dns::{NameServer, Zone};
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::Upstream;

/// Instances with these names, each at its own address, all on one port.
fn instances(names: &[(&str, &str)]) -> Vec<Upstream> {
    let mut port = 0;
    let start = |&(name, ip): &(&str, &str)| {
        let upstream =
            Upstream::start_at(name, SocketAddr::new(ip.parse().expect("an address"), port));
        port = upstream.addr().port();
        upstream
    };
    names.iter().map(start).collect()
}

fn at(upstreams: &[&Upstream]) -> Zone {
    Zone::Addresses(upstreams.iter().map(|upstream| upstream.addr().ip()).collect())
}

/// A gateway whose stateful pool is discovered by this server alone.
fn discovering(server: &NameServer, port: u16) -> Setup {
    let section =
        format!("[discovery]\ninterval_ms = 200\ntimeout_ms = 200\nresolver = '{}'", server.addr());
    Setup::new()
        .section(&section)
        .stateful_setting(&format!("discover = 'stateful-svc.test:{port}'"))
}

fn await_members(gateway: &TestGateway, names: &[&str]) {
    eventually(&format!("{names:?} are the members"), || {
        let instances = gateway.stateful().instances;
        let reported = instances
            .iter()
            .filter_map(|instance| Some(instance.name.as_ref()?.as_str().to_owned()));
        let all = instances.iter().all(|instance| instance.state == InstanceState::Healthy);
        (all && reported.collect::<Vec<_>>() == names).then_some(())
    });
}

#[test]
fn instances_follow_the_addresses_of_the_name() {
    let mut all = instances(&[
        ("stateful-1", "127.0.0.1"),
        ("stateful-2", "127.0.0.2"),
        ("stateful-3", "::1"),
    ]);
    let server = NameServer::start(at(&[&all[0]]));
    let gateway = discovering(&server, all[0].addr().port()).start_unready();
    await_members(&gateway, &["stateful-1"]);
    server.set(at(&[&all[2], &all[0], &all[1]]));
    await_members(&gateway, &["stateful-1", "stateful-2", "stateful-3"]);
    let discovery = gateway.stateful().discovery.expect("it is discovered");
    assert_eq!((discovery.addresses, &discovery.error), (3, &None));

    // A stopped instance whose address is gone is removed.
    all[1].leave();
    server.set(at(&[&all[0], &all[2]]));
    await_members(&gateway, &["stateful-1", "stateful-3"]);
    // A healthy instance whose address is gone is kept: the response may be truncated.
    server.set(at(&[&all[0]]));
    let queries = server.queries();
    eventually("it was queried again", || (server.queries() > queries + 6).then_some(()));
    await_members(&gateway, &["stateful-1", "stateful-3"]);
    assert!(
        gateway
            .metrics()
            .contains(r#"gateway_discovery_lookups_total{outcome="found",pool="stateful"}"#)
    );
}

#[test]
fn addresses_of_one_ip_version_suffice_if_the_other_lookup_times_out() {
    let all = instances(&[("stateful-1", "127.0.0.1"), ("stateful-2", "::1")]);
    for (kind, instance) in [(1, &all[0]), (28, &all[1])] {
        let server = NameServer::start(Zone::Only(kind, vec![instance.addr().ip()]));
        let gateway = discovering(&server, instance.addr().port()).start_unready();
        eventually("the instance is found", || {
            (gateway.stateful().instances.len() == 1).then_some(())
        });
        let discovery = gateway.stateful().discovery.expect("it is discovered");
        assert_eq!((discovery.addresses, discovery.error), (1, None), "records of type {kind}");
        // The timeout is an error if neither lookup finds an address.
        server.set(Zone::Only(kind, Vec::new()));
        eventually("the failure is shown", || {
            gateway.stateful().discovery?.error.filter(|error| error.contains("timed out"))
        });
    }
}

#[test]
fn every_name_that_the_configuration_accepts_can_be_resolved() {
    let upstream = &instances(&[("stateful-1", "127.0.0.1")])[0];
    let port = upstream.addr().port();
    let label = "a".repeat(63);
    let longest = [&label[..], &label, &label, &label[..61]].join(".");
    for name in [
        "stateful_svc.test",
        "_http._tcp.Stateful.test",
        "tandem_stateful-svc_1.",
        "1.stateful",
        "xn--a-ecp",
        "a_",
        &longest,
    ] {
        let server = NameServer::start(at(&[upstream]));
        let section = format!(
            "[discovery]\ninterval_ms = 200\ntimeout_ms = 200\nresolver = '{}'",
            server.addr()
        );
        let discover = format!("discover = '{name}:{port}'");
        let gateway = Setup::new().section(&section).stateful_setting(&discover).start_unready();
        eventually(&format!("{name} is found"), || {
            (gateway.stateful().instances.len() == 1).then_some(())
        });
    }
}

#[test]
fn a_failing_resolver_removes_no_instance() {
    let all = instances(&[("stateful-1", "127.0.0.1"), ("stateful-2", "127.0.0.2")]);
    let good = at(&[&all[0], &all[1]]);
    let server = NameServer::start(good.clone());
    let gateway = discovering(&server, all[0].addr().port()).start_unready();
    await_members(&gateway, &["stateful-1", "stateful-2"]);
    let epoch = gateway.stateful().epoch;
    let mut events = gateway.listen("?types=discovery_changed");
    let mut reported = || {
        events.find("a change", |event| match event {
            Event::DiscoveryChanged { pool: PoolName::Stateful, error } => Some(error.clone()),
            _ => None,
        })
    };
    for (zone, expected) in [
        (Zone::Silence, "stateful-svc.test"),
        (Zone::ServerFailure, "stateful-svc.test"),
        (Zone::NoSuchName, "no address"),
        (Zone::Empty, "no address"),
        (Zone::Garbage, "stateful-svc.test"),
        (
            Zone::Addresses(vec![IpAddr::from([0, 0, 0, 0]), IpAddr::from([224, 0, 0, 1])]),
            "no address",
        ),
    ] {
        server.set(zone.clone());
        let error = reported().unwrap_or_else(|| panic!("{zone:?} is published"));
        assert!(error.contains(expected), "{zone:?}: {error}");
        let pool = gateway.stateful();
        assert_eq!((pool.epoch, pool.instances.len()), (epoch, 2), "{zone:?}");
        assert!(
            pool.discovery.is_some_and(|discovery| discovery.error.is_some()),
            "{zone:?} is shown"
        );
        assert_eq!(gateway.send(&Request::post(SESSIONS)).status, 200, "{zone:?}");
        server.set(good.clone());
        assert_eq!(reported(), None, "it recovers after {zone:?}");
    }
    assert!(
        gateway
            .metrics()
            .contains(r#"gateway_discovery_lookups_total{outcome="failed",pool="stateful"}"#)
    );
}

#[test]
fn a_start_without_dns_uses_the_saved_instances() {
    let all = instances(&[("stateful-1", "127.0.0.1"), ("stateful-2", "127.0.0.2")]);
    let server = NameServer::start(at(&[&all[0], &all[1]]));
    let folder = tempfile::tempdir().expect("a folder");
    let setup =
        discovering(&server, all[0].addr().port()).state_file(folder.path().join("state.json"));
    let first = setup.start_unready();
    await_members(&first, &["stateful-1", "stateful-2"]);
    let epoch = first.stateful().epoch;
    drop(first);
    server.set(Zone::Silence);
    let second = setup.start_unready();
    await_members(&second, &["stateful-1", "stateful-2"]);
    assert_eq!(second.stateful().epoch, epoch);
}

#[test]
fn an_instance_that_returns_at_another_address_keeps_its_keys() {
    let mut all = instances(&[("stateful-1", "127.0.0.1"), ("stateful-2", "127.0.0.2")]);
    let server = NameServer::start(at(&[&all[0], &all[1]]));
    let gateway = discovering(&server, all[0].addr().port()).start_unready();
    await_members(&gateway, &["stateful-1", "stateful-2"]);
    let (epoch, key) = (gateway.stateful().epoch, gateway.key_at("stateful-2"));
    all[1].leave();
    let again = Upstream::start_at(
        "stateful-2",
        SocketAddr::new([127, 0, 0, 3].into(), all[0].addr().port()),
    );
    server.set(at(&[&all[0], &again]));
    eventually("its keys are home again, at its new address", || {
        let reply = gateway.send(&Request::get(&session_path(key)));
        let is_home = (reply.verdict(), reply.served_by()) == (Verdict::Home, "stateful-2");
        (is_home && again.count() > 0).then_some(())
    });
    await_members(&gateway, &["stateful-1", "stateful-2"]);
    assert_eq!(gateway.stateful().epoch, epoch);
}

#[test]
fn two_gateways_agree_whatever_the_order_of_the_records() {
    let all = instances(&[
        ("stateful-1", "127.0.0.1"),
        ("stateful-2", "127.0.0.2"),
        ("stateful-3", "127.0.0.3"),
    ]);
    let names = ["stateful-1", "stateful-2", "stateful-3"];
    let port = all[0].addr().port();
    let servers =
        [[0, 1, 2], [2, 0, 1]].map(|order| NameServer::start(at(&order.map(|place| &all[place]))));
    let gateways = servers.each_ref().map(|server| discovering(server, port).start_unready());
    gateways.iter().for_each(|gateway| await_members(gateway, &names));
    assert_eq!(gateways[0].stateful().epoch, gateways[1].stateful().epoch);
}

#[test]
fn a_reload_changes_the_name_and_the_resolver() {
    let all = instances(&[("stateful-1", "127.0.0.1"), ("stateful-2", "127.0.0.2")]);
    let port = all[0].addr().port();
    let [first, second] = [0, 1].map(|place| NameServer::start(at(&[&all[place]])));
    let gateway = discovering(&first, port).start_unready();
    await_members(&gateway, &["stateful-1"]);
    gateway.rewrite(&discovering(&second, port));
    assert_eq!(gateway.change(Request::post("/control/v1/reload")).status, 200);
    // The first is healthy, so it stays although the second server does not return it.
    await_members(&gateway, &["stateful-1", "stateful-2"]);
    gateway.rewrite(&Setup::new().stateful([&all[1]]));
    assert_eq!(gateway.change(Request::post("/control/v1/reload")).status, 200);
    await_members(&gateway, &["stateful-2"]);
    assert!(gateway.stateful().discovery.is_none());
}
