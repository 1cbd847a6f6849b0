//! Hot restart: a new gateway process takes over without a failed request.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::PoolName;
use proto_contracts::control::{InstanceState, Pools, Strategy};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Connection, Reply, Request};
use crate::eventually;
use crate::testbed::{SESSIONS, TOKEN};
use crate::upstream::{Act, Upstream};

/// The configuration and sockets that old and new processes share.
struct Place {
    folder: TempDir,
    listen: SocketAddr,
    control: SocketAddr,
}

/// A gateway process.
struct Gateway {
    child: Child,
    log: std::path::PathBuf,
}

impl Place {
    /// Starts the first process, and waits until this instance is healthy.
    fn open(upstream: &Upstream) -> (Self, Gateway) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut place = Self {
            folder,
            listen: ([127, 0, 0, 1], 0).into(),
            control: ([127, 0, 0, 1], 0).into(),
        };
        place.configure(upstream.addr());
        let gateway = place.start("first", &[]);
        let line =
            gateway.line(|line| line["message"] == "listening" && line["control"].is_string());
        let addr = |name: &str| {
            line[name].as_str().and_then(|addr| addr.parse().ok()).expect("an address")
        };
        (place.listen, place.control) = (addr("addr"), addr("control"));
        place.configure(upstream.addr());
        gateway.line(|line| line["state"] == "healthy");
        (place, gateway)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, instance: SocketAddr) {
        let text = format!(
            "[server]\nlisten = '{}'\nannounce_s = 0\ngrace_period_s = 20\nupgrade_sock = '{}'\n\
             state_file = '{}'\n[control]\nlisten = '{}'\n\
             [health]\ninterval_ms = 100\ntimeout_ms = 100\n[pools.stateless]\ninstances = []\n\
             [pools.stateful]\ninstances = ['{instance}']\n",
            self.listen,
            self.path("private/upgrade.sock").display(),
            self.path("state.json").display(),
            self.control,
        );
        fs::write(self.path("gateway.toml"), text).expect("writes");
    }

    fn start(&self, name: &str, options: &[&str]) -> Gateway {
        let log = self.path(name);
        let output = File::create(&log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.env_clear().env("CONTROL_TOKEN", TOKEN).env("LOG_LEVEL", "info,access=off");
        command.arg("--config").arg(self.path("gateway.toml")).args(options);
        let child =
            command.stderr(output.try_clone().expect("a file")).stdout(Stdio::from(output)).spawn();
        Gateway { child: child.expect("runs"), log }
    }

    fn request(&self, request: &Request) -> Reply {
        Connection::open(self.control)
            .expect("the control plane is open")
            .send(&request.clone().header("host", "localhost"))
    }

    fn set_strategy(&self, strategy: Strategy) -> u16 {
        let body = format!("{{\"strategy\":\"{strategy}\"}}");
        let request = Request::new("PUT", "/control/v1/pools/stateful/strategy").json(&body);
        self.request(&request.header("authorization", &format!("Bearer {TOKEN}"))).status
    }
}

impl Gateway {
    /// The first line of its log that matches.
    fn line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually("the line is logged", || {
            let text = fs::read_to_string(&self.log).expect("a log");
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).find(&is_it)
        })
    }

    fn logs(&self, message: &str) {
        self.line(|line| line["message"].as_str().is_some_and(|text| text.contains(message)));
    }

    fn wait(&mut self) -> Option<i32> {
        eventually("it ends", || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _its_status = self.child.wait();
    }
}

/// Posts over one connection after the other, without retries, until it is stopped. Any failure
/// panics.
fn post_on(addr: SocketAddr, stop: &AtomicBool, posted: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut connection = Connection::open(addr).expect("connects");
        loop {
            let reply = connection.send(&Request::post(SESSIONS));
            assert_eq!(reply.status, 200, "{reply:?}");
            posted.fetch_add(1, Ordering::Relaxed);
            if reply.header("connection") == Some("close") || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[test]
fn new_processes_take_over_with_the_state_and_without_a_failed_request() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let (place, mut gateway) = Place::open(&upstreams[0]);
    assert_eq!(place.set_strategy(Strategy::RoundRobin), 200);
    let add = Request::new("POST", "/control/v1/pools/stateful/instances");
    let add = add.json(&format!("{{\"addr\":\"{}\"}}", upstreams[1].addr()));
    assert_eq!(place.request(&add.header("authorization", &format!("Bearer {TOKEN}"))).status, 201);

    let (stop, posted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..4).map(|_| scope.spawn(|| post_on(place.listen, &stop, &posted))).collect();
        for name in ["second", "third"] {
            let mut old_process =
                std::mem::replace(&mut gateway, place.start(name, &["--upgrade"]));
            gateway.logs("took over");
            let before = posted.load(Ordering::Relaxed);
            eventually("requests are served", || {
                (posted.load(Ordering::Relaxed) > before + 20).then_some(())
            });
            assert_eq!(old_process.wait(), Some(0));
            old_process.line(|line| line["message"] == "stopped" && line["cut_off"] == 0);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("no request has failed"));
    });

    let pools: Pools = place.request(&Request::get("/control/v1/pools")).json();
    let stateful =
        pools.pools.into_iter().find(|pool| pool.name == PoolName::Stateful).expect("listed");
    assert_eq!(stateful.strategy, Strategy::RoundRobin);
    let healthy =
        stateful.instances.iter().filter(|instance| instance.state == InstanceState::Healthy);
    assert_eq!(healthy.count(), 2, "{:?}", stateful.instances);
    assert_eq!(place.set_strategy(Strategy::Sticky), 200, "the last process writes the state");
    let state = fs::read_to_string(place.path("state.json")).expect("a state");
    assert!(!state.contains("round_robin"), "{state}");
}

#[test]
fn requests_in_flight_and_idle_connections_survive_the_hot_restart() {
    let upstream = Upstream::start("stateful-1");
    let (place, mut gateway) = Place::open(&upstream);
    let connect = || Connection::open(place.listen).expect("connects");
    let (mut busy, mut idle) = (connect(), connect());
    assert_eq!(idle.send(&Request::post(SESSIONS)).status, 200);
    upstream.act(Act::Hang);
    let seen = upstream.count();
    busy.start(&Request::post(SESSIONS));
    eventually("the request has arrived", || (upstream.count() > seen).then_some(()));

    let new_process = place.start("second", &["--upgrade"]);
    new_process.logs("took over");
    gateway.logs("stopping");
    upstream.act(Act::ok());
    let reply = idle.send(&Request::post(SESSIONS));
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close")),
        "the response announces the close"
    );
    assert_eq!(busy.reply_to("POST").status, 200);
    assert_eq!(gateway.wait(), Some(0));
    assert_eq!(connect().send(&Request::post(SESSIONS)).status, 200);
}

#[test]
fn a_new_process_that_fails_changes_nothing() {
    let upstream = Upstream::start("stateful-1");
    let (place, mut gateway) = Place::open(&upstream);
    let serves = |place: &Place| {
        Connection::open(place.listen).expect("connects").send(&Request::post(SESSIONS)).status
    };

    fs::write(place.path("gateway.toml"), "[server]\nlissten = 1\n").expect("writes");
    assert_eq!(place.start("wrong", &["--upgrade"]).wait(), Some(64));
    assert_eq!((serves(&place), place.set_strategy(Strategy::RoundRobin)), (200, 200));

    // A new process without a healthy instance does not take over. Until it ends, changes are
    // rejected.
    place.configure(([127, 0, 0, 1], 1).into());
    let mut blind = place.start("blind", &["--upgrade"]);
    gateway.logs("a new process is starting");
    eventually("changes are rejected", || {
        (place.set_strategy(Strategy::Sticky) == 409).then_some(())
    });
    assert_eq!(serves(&place), 200);
    blind.child.kill().expect("it runs");
    gateway.logs("the new process ended before it was ready");
    assert_eq!((serves(&place), place.set_strategy(Strategy::Sticky)), (200, 200));
    assert!(gateway.child.try_wait().expect("a child").is_none(), "the old process still runs");

    // A valid one still can take over.
    place.configure(upstream.addr());
    place.start("good", &["--upgrade"]).logs("took over");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn sighup_reloads() {
    let upstream = Upstream::start("stateful-1");
    let (place, gateway) = Place::open(&upstream);
    let pid = Pid::from_raw(gateway.child.id().try_into().expect("a pid"));
    kill(pid, Signal::SIGHUP).expect("it runs");
    gateway.logs("configuration reloaded");
    fs::write(place.path("gateway.toml"), "[server]\nlissten = 1\n").expect("writes");
    kill(pid, Signal::SIGHUP).expect("it runs");
    gateway.logs("nothing has changed");
}

#[test]
fn an_upgrade_without_an_old_process_starts_if_the_folder_is_private() {
    let upstream = Upstream::start("stateful-1");
    let (place, gateway) = Place::open(&upstream);
    drop(gateway);
    let alone = place.start("alone", &["--upgrade"]);
    alone.line(|line| line["state"] == "healthy");
    assert_eq!(
        Connection::open(place.listen).expect("connects").send(&Request::post(SESSIONS)).status,
        200
    );
    drop(alone);

    let folder = place.path("private");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its owner may");
    let mut rejected = place.start("rejected", &[]);
    assert_eq!(rejected.wait(), Some(1));
    let text = fs::read_to_string(Path::new(&rejected.log)).expect("a log");
    assert!(text.contains("chmod 700"), "{text}");
}
