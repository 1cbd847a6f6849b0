//! The program: its configuration checks, exit status and log.

mod connections;

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::{AffinityKey, SessionId};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::SESSIONS;
use crate::upstream::{Act, Upstream};

/// `EX_USAGE`.
const WRONG_CONFIG: i32 = 64;

fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.env_clear().arg("--config").arg(config);
    command
}

fn checked(config: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = program(config);
    let output =
        command.arg("--check-config").envs(environment.iter().copied()).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_config_reports_each_error_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[server]\nlisten = '127.0.0.1:0'\n").expect("writes");
    let (status, stdout, stderr) = checked(&file, &[]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("is valid"), "{stdout}");

    let secret = "too-short";
    let wrong = [("GATEWAY_LISTEN", "no-port"), ("CONTROL_TOKEN", secret), ("LOG_LEVEL", "a=b=c")];
    let (status, _, stderr) = checked(&file, &wrong);
    assert_eq!(status, Some(WRONG_CONFIG));
    assert!(wrong.iter().all(|(name, _)| stderr.contains(name)), "all are reported: {stderr}");
    assert!(!stderr.contains(secret), "a secret is never printed");

    std::fs::write(&file, "[health]\nintervall_ms = 5\n").expect("writes");
    let (status, _, stderr) = checked(&file, &[]);
    assert_eq!(status, Some(WRONG_CONFIG));
    assert!(stderr.contains("line 2") && stderr.contains("intervall_ms"), "{stderr}");

    let (status, _, stderr) = checked(&folder.path().join("missing.toml"), &[]);
    assert_eq!(status, Some(WRONG_CONFIG));
    assert!(stderr.contains("missing.toml"), "{stderr}");
}

#[test]
fn an_invalid_configuration_and_a_port_in_use_are_errors_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[limits]\nmax_body_bytes = 0\n").expect("writes");
    assert_eq!(program(&file).output().expect("runs").status.code(), Some(WRONG_CONFIG));

    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address");
    std::fs::write(
        &file,
        format!("[server]\nlisten = '{taken}'\n[control]\nlisten = '127.0.0.1:0'\n"),
    )
    .expect("writes");
    let output = program(&file).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&taken.to_string()) && stderr.contains("[server] listen"), "{stderr}");
}

/// A gateway process, which is killed on drop.
struct Process {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    addr: SocketAddr,
    control: SocketAddr,
    _folder: TempDir,
}

impl Process {
    /// Starts it with these lines of `[server]`, and waits until the instance is healthy.
    fn start(upstream: &Upstream, server: &str) -> Self {
        Self::start_with(upstream, server, |_| {})
    }

    /// The same; `look` gets each line that is logged before it listens.
    fn start_with(upstream: &Upstream, server: &str, look: impl Fn(&Value)) -> Self {
        Self::start_by(program, upstream, server, look)
    }

    /// The same, with another command.
    fn start_by(
        command: impl FnOnce(&Path) -> Command,
        upstream: &Upstream,
        server: &str,
        look: impl Fn(&Value),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let text = format!(
            "[server]\nlisten = '127.0.0.1:0'\n{server}\n[control]\nlisten = '127.0.0.1:0'\n\
             [pools.stateless]\ninstances = ['{0}']\n[pools.stateful]\ninstances = ['{0}']\n",
            upstream.addr()
        );
        std::fs::write(&file, text).expect("writes");
        let mut child = command(&file).stdout(Stdio::piped()).spawn().expect("runs");
        let log = BufReader::new(child.stdout.take().expect("piped")).lines();
        let unknown = SocketAddr::from(([0; 4], 0));
        let mut process = Self { child, log, addr: unknown, control: unknown, _folder: folder };
        let listening = process.next_line(|line| {
            look(line);
            line["message"] == "listening" && line["control"].is_string()
        });
        let addr = |name: &str| {
            listening[name].as_str().and_then(|addr| addr.parse().ok()).expect("an address")
        };
        (process.addr, process.control) = (addr("addr"), addr("control"));
        process.next_line(|line| line["state"] == "healthy");
        process
    }

    /// The next line of the log that matches.
    fn next_line(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.next().expect("another line").expect("reads");
            let value: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
            if is_it(&value) {
                return value;
            }
        }
    }

    fn control(&self, path: &str) -> String {
        let request = Request::get(path).header("host", &self.control.to_string());
        let body = Connection::open(self.control).expect("connects").send(&request).body;
        String::from_utf8(body).expect("text")
    }

    /// The value of a metric.
    fn figure(&self, name: &str) -> Option<usize> {
        self.control("/metrics")
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a pid")), signal).expect("it runs");
    }

    /// Waits for its exit status.
    fn wait(&mut self) -> Option<i32> {
        eventually("it ends", || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _its_status = self.child.wait();
    }
}

#[test]
fn it_logs_each_request_as_json_without_its_session() {
    let upstream = Upstream::start("stateful-1");
    let mut process = Process::start(&upstream, "");
    let key = AffinityKey::from_bits(0xbeef);
    let id = SessionId::generate(key).expose();
    let request_id = "0190b0e4-7d1c-7a52-9c41-0123456789ab";
    let history =
        Request::get(&format!("{SESSIONS}/{id}/history")).header("x-request-id", request_id);
    let reply = Connection::open(process.addr).expect("connects").send(&history);
    assert_eq!(reply.status, 200);

    let line = process.next_line(|line| line["target"] == "access");
    assert_eq!(line["route"], "/api/v1/stateful/sessions/{session_id}/history");
    assert_eq!(
        (&line["method"], &line["status"], &line["level"]),
        (&"GET".into(), &200.into(), &"INFO".into())
    );
    assert_eq!((&line["request_id"], &line["client"]), (&request_id.into(), &"127.0.0.1".into()));
    assert_eq!((&line["pool"], &line["instance"]), (&"stateful".into(), &"stateful-1".into()));
    assert_eq!((&line["verdict"], &line["key"]), (&"home".into(), &key.to_string().into()));
    assert_eq!(
        (&line["response_bytes"], &line["epoch"]),
        (&2.into(), &reply.stamp().epoch.to_string().into())
    );
    assert!(line["duration_ms"].as_f64().is_some_and(|duration| duration > 0.0), "{line}");
    assert!(!line.to_string().contains(&id[9..]), "the session id is a secret");
}

#[test]
fn an_open_lab_is_logged_at_the_start_and_for_each_request() {
    let upstream = Upstream::start("stateful-1");
    let mut closed = Process::start(&upstream, "");
    let override_request = Request::get(SESSIONS).header("x-routing-strategy", "round_robin");
    Connection::open(closed.addr).expect("connects").send(&override_request);
    let line = closed.next_line(|line| line["target"] == "access");
    assert_eq!((&line["verdict"], &line["requested_strategy"]), (&"new".into(), &Value::Null));

    let warned = RefCell::new(false);
    let mut open = Process::start_with(&upstream, "[lab]\nenabled = true", |line| {
        *warned.borrow_mut() |=
            line["level"] == "WARN" && line["message"].as_str().is_some_and(|m| m.contains("lab"));
    });
    assert!(warned.into_inner(), "the log warns of an open lab");
    Connection::open(open.addr).expect("connects").send(&override_request);
    let line = open.next_line(|line| line["target"] == "access");
    assert_eq!(
        (&line["verdict"], &line["requested_strategy"]),
        (&"off".into(), &"round_robin".into())
    );
}

#[test]
fn client_errors_are_not_logged_as_errors() {
    let upstream = Upstream::start("stateful-1");
    let mut process = Process::start(&upstream, "");
    let connect = || Connection::open(process.addr).expect("connects");
    for bytes in [
        "\u{1}garbage\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nbad name: x\r\n\r\n",
        "POST /no-such-path HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx",
    ] {
        let mut client = connect();
        client.write(bytes.as_bytes());
        client.finish();
        assert!((400..500).contains(&client.reply_to("GET").status), "{bytes:?}");
    }
    let chunked = Request::new("POST", SESSIONS).header("transfer-encoding", "chunked");
    let mut broken = connect();
    broken.write(&[&chunked.head()[..], b"zz\r\n"].concat());
    assert_eq!(broken.reply_to("POST").status, 400);
    upstream.act(Act::Hang);
    let mut gone = connect();
    gone.start(&Request::get(SESSIONS));
    eventually("the request has arrived", || (upstream.count() > 0).then_some(()));
    drop(gone);
    upstream.act(Act::ok());
    let last = "0190b0e4-7d1c-7a52-9c41-000000000000";
    connect().send(&Request::get(SESSIONS).header("x-request-id", last));
    let faults = RefCell::new(Vec::new());
    process.next_line(|line| {
        if line["level"] == "ERROR" {
            faults.borrow_mut().push(line.to_string());
        }
        line["request_id"] == last
    });
    assert!(faults.borrow().is_empty(), "{faults:?}");
}

#[test]
fn both_signals_end_it() {
    let upstream = Upstream::start("stateful-1");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = Process::start(&upstream, "announce_s = 0");
        process.signal(signal);
        assert_eq!(process.wait(), Some(0), "{signal}");
    }
}

#[test]
fn readiness_fails_before_the_pre_stop_delay_and_the_listener_after() {
    let upstream = Upstream::start("stateful-1");
    let mut process = Process::start(&upstream, "announce_s = 3");
    let ready = |process: &Process| {
        let mut control = Connection::open(process.control).expect("connects");
        control.send(&Request::get("/readyz").header("host", &process.control.to_string())).status
    };
    eventually("it is ready", || (ready(&process) == 200).then_some(()));
    let mut kept = Connection::open(process.addr).expect("connects");
    assert_ne!(
        kept.send(&Request::post(SESSIONS)).header("connection"),
        Some("close"),
        "keep-alive"
    );
    let signalled = Instant::now();
    process.signal(Signal::SIGTERM);
    process.next_line(|line| {
        line["message"].as_str().is_some_and(|text| text.contains("readiness fails"))
    });
    assert_eq!(ready(&process), 503);
    let mut new = Connection::open(process.addr).expect("it listens");
    for connection in [&mut kept, &mut new] {
        let reply = connection.send(&Request::post(SESSIONS));
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, Some("close")),
            "served, and closed"
        );
        assert!(connection.is_closed_by_peer());
    }
    assert_eq!(process.wait(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_secs(3), "{:?}", signalled.elapsed());
    // A second signal skips the delay.
    let mut process = Process::start(&upstream, "announce_s = 60");
    process.signal(Signal::SIGTERM);
    process.next_line(|line| {
        line["message"].as_str().is_some_and(|text| text.contains("readiness fails"))
    });
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn a_stopping_gateway_serves_connections_in_the_accept_queue() {
    let upstream = Upstream::start("stateful-1");
    let mut process = Process::start(&upstream, "announce_s = 0");
    // While the process is stopped, the kernel queues more connections than it would accept before
    // it handles the signal.
    process.signal(Signal::SIGSTOP);
    let mut clients: Vec<_> =
        (0..400).map(|_| Connection::open(process.addr).expect("connects")).collect();
    clients.iter_mut().for_each(|client| client.start(&Request::post(SESSIONS)));
    process.signal(Signal::SIGTERM);
    process.signal(Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.reply_to("POST").status, 200);
    }
    // Reads the log, which is larger than the pipe's buffer.
    process.next_line(|line| line["message"] == "stopped");
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn the_grace_period_bounds_the_shutdown() {
    let upstream = Upstream::start("stateful-1");
    let mut process = Process::start(&upstream, "announce_s = 0\ngrace_period_s = 1");
    upstream.act(Act::Hang);
    let mut client = Connection::open(process.addr).expect("connects");
    client.start(&Request::post(SESSIONS));
    eventually("the request has arrived", || (upstream.count() == 1).then_some(()));
    let signalled = Instant::now();
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
    let took = signalled.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "it took {took:?}");
}

#[test]
fn the_program_probes_health_and_readiness() {
    let (upstream, folder) =
        (Upstream::start("stateful-1"), tempfile::tempdir().expect("a folder"));
    let process = Process::start(&upstream, "");
    let file = folder.path().join("probe.toml");
    let probe = |data: SocketAddr, control: SocketAddr, option: &str| {
        let text = format!("[server]\nlisten = '{data}'\n[control]\nlisten = '{control}'\n");
        std::fs::write(&file, text).expect("writes");
        let output = program(&file).arg(option).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for option in ["--health", "--ready"] {
        assert_eq!(
            probe(process.addr, process.control, option),
            (Some(0), String::new()),
            "{option}"
        );
    }
    let unused = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let (status, reported) = probe(unused, process.control, "--health");
    assert!(status == Some(1) && reported.contains(&unused.to_string()), "{status:?} {reported}");
}

#[test]
fn the_token_may_come_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, token) = (folder.path().join("gateway.toml"), folder.path().join("control_token"));
    std::fs::write(&file, "").expect("writes");
    std::fs::write(&token, "0123456789abcdef0123\n").expect("writes");
    let at = token.to_str().expect("UTF-8");
    assert_eq!(checked(&file, &[("CONTROL_TOKEN_FILE", at)]).0, Some(0));
    std::fs::write(&token, "development-only-control-token").expect("writes");
    let (status, _, reported) =
        checked(&file, &[("CONTROL_TOKEN_FILE", at), ("TANDEM_MODE", "production")]);
    assert!(
        status == Some(WRONG_CONFIG)
            && reported.contains("CONTROL_TOKEN")
            && reported.contains("production"),
        "{reported}"
    );
}
