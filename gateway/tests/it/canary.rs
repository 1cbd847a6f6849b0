//! The command `gateway ctl canary`, and memberships with a lease.

use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::control::{Instance, InstanceAdded};
use proto_contracts::{ErrorCode, PoolName};
use serde_json::Value;

use crate::client::{Connection, Reply, Request};
use crate::ctl::{command, text, url};
use crate::eventually;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

const NAMES: [&str; 3] = ["stateless-1", "stateless-2", "stateless-3"];

/// Starts the command for the last of these instances, with the first two as members.
fn start(gateway: &TestGateway, canary: &Upstream, options: &[&str]) -> Child {
    let addr = canary.addr().to_string();
    let mut command = command(&url(gateway), &["--json", "canary", "stateless", &addr]);
    let piped = command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("runs")
}

/// Who served which statuses while the command ran, and its output.
struct Trial {
    served: Vec<(u16, String)>,
    output: Output,
}

impl Trial {
    /// Runs the command while so many clients send one request after the other.
    fn run(gateway: &TestGateway, canary: &Upstream, options: &[&str], clients: usize) -> Self {
        let (mut child, is_over) = (start(gateway, canary, options), AtomicBool::new(false));
        let addr = gateway.addr;
        let client = || {
            let mut connection = Connection::open(addr).expect("connects");
            let mut served = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let reply = connection.send(&Request::get(INFO));
                served.push((reply.status, reply.served_by().to_owned()));
            }
            served
        };
        let served = thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            child.wait().expect("it ends");
            is_over.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
        });
        Self { served, output: child.wait_with_output().expect("output") }
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|_| panic!("{:?}", self.output))
    }

    #[track_caller]
    fn put_back(&self, reason: &str) -> Value {
        let (report, said) = (self.report(), text(&self.output.stderr));
        assert_eq!(self.output.status.code(), Some(1), "{said}");
        assert_eq!((&report["outcome"], &report["reason"]), (&"put_back".into(), &reason.into()));
        assert!(said.contains("stateless-3 is put back after"), "{said}");
        report
    }
}

fn member(gateway: &TestGateway, of: &Upstream) -> Option<Instance> {
    let instances = gateway.pool(PoolName::Stateless).instances;
    instances.into_iter().find(|instance| instance.addr == of.addr())
}

fn put_back_count(gateway: &TestGateway, reason: &str) -> Option<f64> {
    let labels = format!("{{pool=\"stateless\",reason=\"{reason}\"}}");
    gateway.metric(&format!("gateway_canaries_put_back_total{labels}"))
}

#[test]
fn one_that_fails_a_request_in_fifty_is_put_back_and_nothing_else_fails() {
    let upstreams = Upstream::start_all(NAMES);
    upstreams[2].act(Act::FailOneIn(50));
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    assert_eq!(put_back_count(&gateway, "errors"), Some(0.0), "it counts from 0");
    let trial = Trial::run(&gateway, &upstreams[2], &[], 2);
    let report = trial.put_back("errors");
    let why = report["why"].as_str().expect("text");
    assert!(why.starts_with("it failed ") && why.contains(", the others 0 of "), "{why}");
    let failed: Vec<_> = trial.served.iter().filter(|(status, _)| *status != 200).collect();
    assert!(failed.iter().all(|(status, by)| *status == 500 && by == "stateless-3"), "{failed:?}");
    assert_eq!(failed.len(), upstreams[2].count() / 50, "one in fifty of its share");
    let (all, own) = (trial.served.len(), upstreams[2].count());
    assert!(own <= all / 3 + 2, "{own} of {all}: its share is a third");
    assert!(member(&gateway, &upstreams[2]).is_none());
    assert_eq!(put_back_count(&gateway, "errors"), Some(1.0));
}

#[test]
fn one_that_is_as_good_stays() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    let options = ["--watch", "2", "--at-most", "600", "--requests", "200", "--weight", "1"];
    let trial = Trial::run(&gateway, &upstreams[2], &options, 1);
    let report = trial.report();
    assert_eq!((trial.output.status.code(), &report["outcome"]), (Some(0), &"promoted".into()));
    assert!(report["canary"]["requests"].as_u64() >= Some(200), "{report}");
    assert_eq!(report["others"].as_array().map(Vec::len), Some(2), "{report}");
    let stays = member(&gateway, &upstreams[2]).expect("it stays");
    assert_eq!(stays.lease_s, None, "for good");
    assert!(trial.served.iter().all(|(status, _)| *status == 200));
}

#[test]
fn one_that_takes_seconds_is_put_back() {
    let upstreams = Upstream::start_all(NAMES);
    upstreams[2].act(Act::Late(Duration::from_secs(3)));
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    let trial = Trial::run(&gateway, &upstreams[2], &["--warm-up", "0"], 24);
    let why = trial.put_back("latency")["why"].to_string();
    assert!(why.contains("it took more than "), "{why}");
    assert!(member(&gateway, &upstreams[2]).is_none());
}

#[test]
fn without_its_watcher_it_is_taken_out() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    let mut child = start(&gateway, &upstreams[2], &["--lease", "5"]);
    let added = eventually("it is added", || member(&gateway, &upstreams[2]));
    assert!(added.lease_s.is_some_and(|left| left <= 5), "{added:?}");
    child.kill().expect("a child");
    child.wait().expect("it ends");
    eventually("it is gone", || member(&gateway, &upstreams[2]).is_none().then_some(()));
    assert_eq!(put_back_count(&gateway, "lease_ended"), Some(1.0));
}

#[test]
fn an_interrupted_watcher_takes_it_out() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let child = start(&gateway, &upstreams[2], &[]);
        eventually("it is added", || member(&gateway, &upstreams[2]));
        let id = i32::try_from(child.id()).expect("an id");
        kill(Pid::from_raw(id), signal).expect("a child");
        let output = child.wait_with_output().expect("it ends");
        let trial = Trial { served: Vec::new(), output };
        assert_eq!(trial.report()["reason"], "interrupted", "{:?}", trial.output);
        assert!(text(&trial.output.stderr).contains(signal.as_str()), "{:?}", trial.output);
        assert!(member(&gateway, &upstreams[2]).is_none());
    }
    assert_eq!(put_back_count(&gateway, "interrupted"), Some(3.0));
}

#[test]
fn one_that_somebody_removes_is_not_added_again() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateless(&upstreams[..2]).start();
    let child = start(&gateway, &upstreams[2], &["--lease", "5"]);
    eventually("it is added", || member(&gateway, &upstreams[2]));
    let path = format!("/control/v1/pools/stateless/instances/{}", upstreams[2].addr());
    assert_eq!(gateway.change(Request::new("DELETE", &path)).status, 204);
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert!(said.contains("it is no longer in the pool"), "{said}");
    assert!(member(&gateway, &upstreams[2]).is_none());
}

#[test]
fn it_needs_another_instance_and_an_address_that_is_no_member() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateless(&upstreams[..1]).start();
    let refused = |canary: &Upstream| {
        let output = start(&gateway, canary, &[]).wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr)
    };
    assert!(refused(&upstreams[0]).contains("stateless has no other healthy instance"));
    let body = format!("{{\"addr\":\"{}\"}}", upstreams[1].addr());
    let add = Request::new("POST", "/control/v1/pools/stateless/instances").json(&body);
    assert_eq!(gateway.change(add).status, 201);
    eventually("it serves", || (gateway.healthy(PoolName::Stateless) == 2).then_some(()));
    let said = refused(&upstreams[1]);
    assert!(said.contains("a member without a lease, which a lease would end"), "{said}");
    assert!(member(&gateway, &upstreams[1]).is_some(), "nothing has changed");
}

fn add(gateway: &TestGateway, addr: &Upstream, rest: &str) -> Reply {
    let body = format!("{{\"addr\":\"{}\"{rest}}}", addr.addr());
    gateway.change(Request::new("POST", "/control/v1/pools/stateless/instances").json(&body))
}

#[test]
fn a_lease_is_within_bounds_and_is_not_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstreams = Upstream::start_all(NAMES);
    let state = folder.path().join("state.json");
    let setup = Setup::new().stateless(&upstreams[..2]).state_file(state);
    let gateway = setup.start();
    for wrong in ["4", "3601", "-1", "1.5", "\"9\""] {
        let reply = add(&gateway, &upstreams[2], &format!(",\"lease_s\":{wrong}"));
        assert_eq!(reply.problem().code, ErrorCode::InvalidBody, "{wrong}");
    }
    assert!(member(&gateway, &upstreams[2]).is_none());
    let added: InstanceAdded = add(&gateway, &upstreams[2], ",\"lease_s\":3600").json();
    assert_eq!((added.instance.lease_s, added.lasts.as_str()), (Some(3_600), "until_restart"));
    drop(gateway);
    let gateway = setup.start();
    assert!(member(&gateway, &upstreams[2]).is_none(), "a restart ends it");
    assert_eq!(add(&gateway, &upstreams[2], ",\"lease_s\":3600").status, 201);
    let promoted: InstanceAdded = add(&gateway, &upstreams[2], "").json();
    assert_eq!((promoted.instance.lease_s, promoted.lasts.as_str()), (None, "saved"));
    drop(gateway);
    let gateway = setup.start_unready();
    assert!(member(&gateway, &upstreams[2]).is_some(), "promoted, it lasts");
}
