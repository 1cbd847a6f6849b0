//! Changes at one gateway of a deployment are made at the others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use proto_contracts::control::{
    InstanceAdded, InstanceChanged, InstanceRemoved, InstanceState, MissedGateway, ReloadDone,
    Strategy, StrategySet,
};
use proto_contracts::{ErrorCode, PoolName, headers};

use crate::client::{Reply, Request};
use crate::dns::{NameServer, Zone};
use crate::testbed::{Setup, TOKEN, TestGateway};
use crate::upstream::Upstream;

const STRATEGY: &str = "/control/v1/pools/stateful/strategy";
const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

/// An address of a control plane that nobody else uses: of this process, and of this call.
fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [.., high, middle, low] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::new(127, 64 + high % 64, middle, low), port).into()
}

/// A gateway at this address that knows these others.
fn knowing(own: SocketAddr, peers: &[&str]) -> Setup {
    let hosts = format!("allowed_hosts = ['127.0.0.1', '{}']", own.ip());
    Setup::new().control_at(own).control(&hosts).control(&format!("peers = {peers:?}"))
}

/// Two gateways that know each other.
fn pair(upstreams: &[Upstream]) -> [TestGateway; 2] {
    let [one, other] = [address(), address()];
    [(one, other), (other, one)]
        .map(|(own, peer)| knowing(own, &[&peer.to_string()]).stateful(upstreams).start())
}

fn switch(strategy: &str) -> Request {
    Request::new("PUT", STRATEGY).json(&format!("{{\"strategy\":\"{strategy}\"}}"))
}

/// The gateways that a switch to round robin missed.
#[track_caller]
fn missed(reply: &Reply) -> Vec<MissedGateway> {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json::<StrategySet>().missed
}

/// How many changes the gateway passed on, by outcome.
fn passed_on(gateway: &TestGateway) -> [f64; 2] {
    ["made", "missed"].map(|outcome| {
        let name = format!("gateway_peer_changes_total{{outcome=\"{outcome}\"}}");
        gateway.metric(&name).expect("it counts from 0")
    })
}

fn names(gateway: &TestGateway) -> Vec<String> {
    let instances = gateway.stateful().instances;
    instances.into_iter().filter_map(|instance| Some(instance.name?.to_string())).collect()
}

#[test]
fn each_change_at_one_gateway_is_made_at_the_other() {
    let upstreams = Upstream::start_all(NAMES);
    let [one, other] = pair(&upstreams[..2]);
    assert_eq!(missed(&one.change(switch("round_robin"))), []);
    assert_eq!(other.stateful().strategy, Strategy::RoundRobin);
    assert_eq!(missed(&other.change(switch("sticky"))), []);
    assert_eq!(one.stateful().strategy, Strategy::Sticky);

    let added: InstanceAdded = one.add(upstreams[2].addr()).json();
    assert_eq!((added.missed.len(), names(&other).len()), (0, 3), "{:?}", names(&other));
    let again = other.add(upstreams[2].addr());
    assert_eq!((again.status, again.json::<InstanceAdded>().missed), (200, vec![]));

    let drained: InstanceChanged =
        one.drain_request("stateful-1", "drain", r#"{"deadline_s":3000}"#).json();
    assert_eq!(drained.missed, []);
    assert_eq!(other.state_of("stateful-1"), Some(InstanceState::Draining));
    let undrained: InstanceChanged = other.drain_request("stateful-1", "undrain", "").json();
    assert_eq!(undrained.missed, []);
    assert_eq!(one.state_of("stateful-1"), Some(InstanceState::Healthy));

    let path = "/control/v1/pools/stateful/instances/stateful-2";
    let weight = one.change(Request::new("PATCH", path).json("{\"weight\":3}"));
    assert_eq!((weight.status, weight.json::<InstanceChanged>().missed), (200, vec![]));
    let weights: Vec<_> =
        other.stateful().instances.iter().map(|instance| instance.weight.get()).collect();
    assert_eq!(weights, [1, 3, 1]);

    let removed = other.remove("stateful-3");
    assert_eq!((removed.status, removed.body.len()), (204, 0), "{removed:?}");
    assert_eq!(removed.header(headers::CHANGE_LASTS), Some("until_restart"));
    assert_eq!(names(&one), ["stateful-1", "stateful-2"]);

    let reloaded: ReloadDone = one.change(Request::new("POST", "/control/v1/reload")).json();
    assert_eq!(reloaded.missed, []);
    let all = [&one, &other].map(passed_on);
    assert_eq!(all, [[5.0, 0.0], [4.0, 0.0]], "a change that was passed on goes no further");
    assert_eq!(one.stateful().epoch, other.stateful().epoch);
}

#[test]
fn a_gateway_that_is_away_is_named_and_a_repetition_reaches_it() {
    let upstreams = Upstream::start_all(NAMES);
    let away = address();
    let one = knowing(address(), &[&away.to_string()]).stateful(&upstreams).start();
    let named = |missed: &[MissedGateway]| {
        let [only] = missed else { panic!("{missed:?}") };
        assert!(only.gateway == away.to_string() && only.cause.contains("refused"), "{only}");
    };
    named(&missed(&one.change(switch("round_robin"))));
    let removed = one.remove("stateful-3");
    assert_eq!(removed.status, 200, "{removed:?}");
    assert_eq!(removed.header(headers::CHANGE_LASTS), Some("until_restart"));
    named(&removed.json::<InstanceRemoved>().missed);
    let again = one.remove("stateful-3");
    assert_eq!((again.status, again.code()), (404, ErrorCode::InstanceNotFound));
    assert!(again.problem().detail.contains(&away.to_string()), "{again:?}");
    assert_eq!(passed_on(&one), [0.0, 3.0]);

    let other = knowing(away, &[]).stateful(&upstreams).start();
    assert_eq!((other.stateful().strategy, names(&other).len()), (Strategy::Sticky, 3));
    assert_eq!(missed(&one.change(switch("round_robin"))), []);
    assert_eq!(one.remove("stateful-3").status, 204, "it was removed at the other gateway");
    assert_eq!(other.stateful().strategy, Strategy::RoundRobin);
    assert_eq!(names(&other), ["stateful-1", "stateful-2"]);
    let again = one.remove("stateful-3");
    assert_eq!((again.status, again.code()), (404, ErrorCode::InstanceNotFound));
}

#[test]
fn a_gateway_that_hangs_does_not_hold_up_the_others() {
    let upstreams = Upstream::start_all(NAMES);
    // It accepts connections, as the kernel does for a stopped process, and never responds.
    let hung = TcpListener::bind(address()).expect("binds");
    let hung = hung.local_addr().expect("an address").to_string();
    let third = address();
    let one = knowing(address(), &[&hung, &third.to_string()]).stateful(&upstreams).start();
    let third = knowing(third, &[]).stateful(&upstreams).start();
    // The client waits for less long than the peer hangs, which is forever.
    let missed = missed(&one.change(switch("round_robin")));
    assert!(
        matches!(&missed[..], [one] if one.gateway == hung && one.cause.contains("within 2 s")),
        "{missed:?}"
    );
    assert_eq!(third.stateful().strategy, Strategy::RoundRobin);
}

#[test]
fn a_change_that_another_gateway_rejects_is_missed_with_the_cause() {
    let upstreams = Upstream::start_all(NAMES);
    let [stranger, strict, alone] = [address(), address(), address()];
    let all = [stranger, strict, alone].map(|addr| addr.to_string());
    let one = knowing(address(), &[&all[0], &all[1], &all[2]]).stateful(&upstreams).start();
    let stranger =
        knowing(stranger, &[]).token("another-token-for-tests").stateful(&upstreams).start();
    let strict_hosts = format!("allowed_hosts = ['{}']", strict.ip());
    let strict =
        Setup::new().control_at(strict).control(&strict_hosts).stateful(&upstreams).start();
    let alone = knowing(alone, &[]).stateful(&upstreams[..1]).start();
    let removed = one.remove("stateful-1");
    let missed = removed.json::<InstanceRemoved>().missed;
    let cause = |addr: SocketAddr| {
        let of = missed.iter().find(|missed| missed.gateway == addr.to_string());
        of.map_or("none", |missed| &missed.cause)
    };
    assert_eq!(cause(stranger.control_addr), "it rejects the token");
    assert_eq!(cause(strict.control_addr), "its [control] allowed_hosts lacks '127.0.0.1'");
    assert!(cause(alone.control_addr).contains("its requests would fail"), "{missed:?}");
    for gateway in [&stranger, &strict, &alone] {
        assert!(names(gateway).contains(&"stateful-1".to_owned()));
    }

    // What fails here is not passed on, and its response is as it was.
    let [one, other] = pair(&upstreams[..1]);
    let refused = one.remove("stateful-1");
    assert_eq!((refused.status, refused.code()), (409, ErrorCode::LastInstance));
    assert_eq!(one.change(switch("ip_hash")).code(), ErrorCode::InvalidStrategy);
    assert_eq!((passed_on(&one), names(&other).len()), ([0.0, 0.0], 1));
}

#[test]
fn a_gateway_may_be_among_its_own_peers() {
    let upstreams = Upstream::start_all(NAMES);
    let [one, other] = [address(), address()];
    // By its address, and by a name that has both of them.
    let server = NameServer::start(Zone::Addresses(vec![one.ip()]));
    let resolver = format!(
        "[discovery]\ninterval_ms = 1000\ntimeout_ms = 1000\nresolver = '{}'",
        server.addr()
    );
    let name = |addr: SocketAddr| format!("gateway.test:{}", addr.port());
    let peers = [one.to_string(), name(one), name(other), other.to_string()];
    let peers: Vec<_> = peers.iter().map(String::as_str).collect();
    let [one, other] = [one, other]
        .map(|own| knowing(own, &peers).section(&resolver).stateful(&upstreams).start());
    assert_eq!(missed(&one.change(switch("round_robin"))), []);
    assert_eq!(other.stateful().strategy, Strategy::RoundRobin);
    assert_eq!(one.remove("stateful-2").status, 204);
    assert_eq!(one.remove("stateful-2").code(), ErrorCode::InstanceNotFound);
    assert_eq!([&one, &other].map(passed_on), [[3.0, 0.0], [0.0, 0.0]]);

    server.set(Zone::NoSuchName);
    let missed = missed(&one.change(switch("sticky")));
    let gateways: Vec<_> = missed.iter().map(|missed| missed.gateway.clone()).collect();
    assert_eq!(gateways, [name(one.control_addr), name(other.control_addr)], "{missed:?}");
    assert_eq!(other.stateful().strategy, Strategy::Sticky, "by its address");
}

/// A gateway behind a listener on another address has another one than its peers know.
#[test]
fn a_gateway_that_gets_its_own_change_back_keeps_it() {
    let upstreams = Upstream::start_all(NAMES);
    let server = NameServer::start(Zone::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
    let resolver = format!(
        "[discovery]\ninterval_ms = 1000\ntimeout_ms = 1000\nresolver = '{}'",
        server.addr()
    );
    // On all addresses, so it must be a port that no other process has.
    let port = 10_000 + u16::try_from(std::process::id() % 9_000).expect("small");
    let own = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let hosts = "allowed_hosts = ['127.0.0.1', '0.0.0.0']";
    let peers = format!("peers = ['gateway.test:{port}']");
    let setup = Setup::new().control_at(own).control(hosts).control(&peers).section(&resolver);
    let gateway = setup.stateful(&upstreams).start();
    for strategy in ["round_robin", "sticky"] {
        assert_eq!(missed(&gateway.change(switch(strategy))), []);
        assert_eq!(gateway.stateful().strategy.as_str(), strategy);
    }
    assert_eq!(gateway.remove("stateful-2").status, 204);
    let again = gateway.remove("stateful-2");
    assert_eq!((again.status, again.code()), (404, ErrorCode::InstanceNotFound), "{again:?}");
}

#[test]
fn changes_that_cross_end_in_the_same_state_at_both() {
    let upstreams = Upstream::start_all(NAMES);
    let gateways = pair(&upstreams);
    let barrier = Barrier::new(2);
    let mut ends = Vec::new();
    for _ in 0..40 {
        thread::scope(|scope| {
            for (gateway, strategy) in gateways.iter().zip(["sticky", "round_robin"]) {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    assert_eq!(missed(&gateway.change(switch(strategy))), []);
                });
            }
        });
        let [one, other] = [0, 1].map(|place: usize| gateways[place].stateful().strategy);
        assert_eq!(one, other, "after {ends:?}");
        ends.push(one);
    }
    // The same for membership, with an addition against a removal.
    for _ in 0..10 {
        thread::scope(|scope| {
            let (barrier, [one, other]) = (&barrier, &gateways);
            scope.spawn(|| {
                barrier.wait();
                let added = one.add(upstreams[2].addr());
                assert!(matches!(added.status, 200 | 201 | 404), "{added:?}");
            });
            scope.spawn(|| {
                barrier.wait();
                let removed = other.remove(&upstreams[2].addr().to_string());
                assert!(matches!(removed.status, 204 | 404), "{removed:?}");
            });
        });
        let [one, other] = [0, 1].map(|place: usize| gateways[place].stateful().instances.len());
        assert_eq!(one, other);
    }
}

#[test]
fn a_change_that_arrives_after_a_later_one_is_not_made() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let passed_on = |strategy, order| switch(strategy).header(headers::CHANGE_ORDER, order);
    let without_token = gateway.request(passed_on("round_robin", "1-00000001"));
    assert_eq!((without_token.status, without_token.code()), (401, ErrorCode::Unauthorized));
    assert_eq!(gateway.change(passed_on("round_robin", "2-00000000")).status, 200);
    for late in ["1-ffffffff", "2-00000000"] {
        let reply = gateway.change(passed_on("sticky", late));
        assert_eq!((reply.status, reply.header(headers::CHANGE_ORDER)), (204, Some("2-00000000")));
    }
    assert_eq!(gateway.stateful().strategy, Strategy::RoundRobin);
    assert_eq!(gateway.change(passed_on("sticky", "2-00000001")).status, 200);
    assert_eq!(gateway.stateful().strategy, Strategy::Sticky);
    // Of the other pool there is no change yet.
    let other = Request::new("PUT", "/control/v1/pools/stateless/strategy");
    let other = other.json(r#"{"strategy":"sticky"}"#).header(headers::CHANGE_ORDER, "1-00000000");
    assert_eq!(gateway.change(other).status, 200);
    // A client's change is the latest, even if a gateway's clock was ahead.
    let ahead = passed_on("round_robin", "9999999999999-00000000");
    assert_eq!(gateway.change(ahead).status, 200);
    assert_eq!(missed(&gateway.change(switch("sticky"))), []);
    assert_eq!(gateway.stateful().strategy, Strategy::Sticky);
    for malformed in ["", "now", "1-2", "-1-00000000"] {
        let reply = gateway.change(passed_on("round_robin", malformed));
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::BadRequest), "{malformed:?}");
    }
}

#[test]
fn a_change_may_be_for_one_gateway_alone() {
    let upstreams = Upstream::start_all(NAMES);
    let [one, other] = pair(&upstreams);
    let scoped = |scope| switch("round_robin").header(headers::CHANGE_SCOPE, scope);
    for unknown in ["", "all", "Gateway"] {
        let reply = one.change(scoped(unknown));
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::BadRequest), "{unknown:?}");
    }
    assert_eq!(one.stateful().strategy, Strategy::Sticky);
    assert_eq!(missed(&one.change(scoped("gateway"))), []);
    assert_eq!(one.stateful().strategy, Strategy::RoundRobin);
    assert_eq!((other.stateful().strategy, passed_on(&one)), (Strategy::Sticky, [0.0, 0.0]));
}

#[test]
fn the_command_line_fails_when_a_gateway_was_missed() {
    let upstreams = Upstream::start_all(NAMES);
    let away = address().to_string();
    let gateway = knowing(address(), &[&away]).stateful(&upstreams).start();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let control = format!("http://{}", gateway.control_addr);
        command.env_clear().env("GATEWAY_CONTROL", control).env("CONTROL_TOKEN", TOKEN);
        let output = command.arg("ctl").args(arguments).output().expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for command in [
        &["strategy", "stateful", "round_robin"][..],
        &["weight", "stateful-2", "2"],
        &["drain", "stateful-1", "--deadline", "0", "--wait"],
        &["undrain", "stateful-1"],
        &["remove", "stateful-3"],
        &["add", "stateful", &upstreams[2].addr().to_string()],
        &["reload"],
    ] {
        let (status, stdout, stderr) = run(command);
        assert_eq!(status, Some(1), "{command:?}: {stdout} {stderr}");
        assert!(!stdout.is_empty(), "{command:?}: what was done here is printed");
        assert!(stderr.contains(&format!("Missed: {away}: ")), "{command:?}: {stderr}");
    }
    assert_eq!(gateway.pool(PoolName::Stateful).strategy, Strategy::RoundRobin);
    let (status, _, stderr) = run(&["--alone", "strategy", "stateful", "sticky"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
}
