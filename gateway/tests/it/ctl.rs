//! The command `gateway ctl`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use proto_contracts::PoolName;
use proto_contracts::control::{Event, Explanation, Pools, Strategy};
use serde_json::Value;

use crate::client::Request;
use crate::testbed::{INFO, Setup, TOKEN, TestGateway};
use crate::upstream::Upstream;

pub(crate) fn command(control: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .env_clear()
        .env("GATEWAY_CONTROL", control)
        .env("CONTROL_TOKEN", TOKEN)
        .arg("ctl")
        .args(arguments);
    command
}

pub(crate) fn url(gateway: &TestGateway) -> String {
    format!("http://{}", gateway.control_addr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The output of a successful run.
#[track_caller]
fn ctl(gateway: &TestGateway, arguments: &[&str]) -> String {
    let output = command(&url(gateway), arguments).output().expect("runs");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The error output of a failed run.
#[track_caller]
fn fault(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{output:?}");
    text(&output.stderr)
}

#[test]
fn commands_read_and_change_pools() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams[..2]).start();
    let table = ctl(&gateway, &["pools"]);
    for expected in [
        "stateless  round_robin",
        "stateful  sticky",
        "stateful-2",
        "healthy",
        &upstreams[1].addr().to_string(),
    ] {
        assert!(table.contains(expected), "{expected} in\n{table}");
    }
    let one: Pools =
        serde_json::from_str(&ctl(&gateway, &["pools", "stateful", "--json"])).expect("JSON");
    assert_eq!(one.pools.iter().map(|pool| pool.name).collect::<Vec<_>>(), [PoolName::Stateful]);

    assert!(ctl(&gateway, &["strategy", "stateful", "round_robin"]).contains("round_robin"));
    assert_eq!(gateway.stateful().strategy, Strategy::RoundRobin);
    ctl(&gateway, &["--json", "strategy", "stateful", "sticky"]);
    let addr = upstreams[2].addr().to_string();
    assert!(ctl(&gateway, &["add", "stateful", &addr]).contains(&addr));
    assert_eq!(gateway.stateful().instances.len(), 3);
    assert_eq!(ctl(&gateway, &["remove", "stateful-2"]), "stateful-2 is removed.\n");
    assert_eq!(ctl(&gateway, &["remove", &addr]), format!("{addr} is removed.\n"));
    assert_eq!(gateway.stateful().instances.len(), 1);

    let reported =
        ctl(&gateway, &["explain", "stateful", "--key", "0badcafe", "--with", "stateful-9"]);
    for expected in [
        "stateful-1",
        "is the key's home",
        "% of all keys would move",
        "stateful-1 → stateful-9",
        "such as",
    ] {
        assert!(reported.contains(expected), "{expected} in\n{reported}");
    }
    let json = ctl(&gateway, &["explain", "stateful", "--key", "0badcafe", "--json"]);
    assert_eq!(
        serde_json::from_str::<Explanation>(&json).expect("JSON").key.to_string(),
        "0badcafe"
    );
}

#[test]
fn error_messages_name_cause_and_cure() {
    let upstreams = Upstream::start_all(["twin", "twin"]);
    let gateway = Setup::new().stateless(&upstreams[..1]).stateful(&upstreams[1..]).start();
    let run =
        |arguments: &[&str]| fault(&command(&url(&gateway), arguments).output().expect("runs"));

    let unknown = run(&["remove", "stateful-9"]);
    assert!(unknown.contains("'stateful-9'") && unknown.contains("there are twin"), "{unknown}");
    assert!(run(&["remove", "twin"]).contains("--pool stateful"));
    let again = ctl(&gateway, &["add", "stateful", &upstreams[1].addr().to_string()]);
    assert!(
        again.contains("twin") && again.contains("healthy"),
        "adding it again changes nothing: {again}"
    );
    let other = upstreams[0].addr().to_string();
    assert!(
        run(&["add", "stateful", &other]).contains("duplicate INSTANCE_ID twin"),
        "a duplicate name"
    );
    let not_member = run(&["explain", "stateful", "--key", "00000001", "--drain", "stateful-9"]);
    assert!(not_member.contains("it has twin"), "{not_member}");
    assert!(
        run(&["events", "--types", "nonsense"]).contains("strategy_changed"),
        "the error lists the types"
    );

    let mut tokenless = command(&url(&gateway), &["strategy", "stateful", "round_robin"]);
    let rejected = fault(&tokenless.env_remove("CONTROL_TOKEN").output().expect("runs"));
    assert!(
        rejected.contains("Set CONTROL_TOKEN") && rejected.contains("--token-file"),
        "{rejected}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("writes");
    let with_file =
        ["--token-file", file.to_str().expect("text"), "strategy", "stateful", "round_robin"];
    let mut from_file = command(&url(&gateway), &with_file);
    assert!(from_file.env_remove("CONTROL_TOKEN").output().expect("runs").status.success());
    let missing = run(&["--token-file", "/missing/token", "pools"]);
    assert!(missing.contains("/missing/token"), "{missing}");

    let unused =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    // The data plane responds 404 to control requests; the message explains that.
    let clients =
        fault(&command(&format!("http://{}", gateway.addr), &["pools"]).output().expect("runs"));
    assert!(clients.contains("control plane") && clients.contains("127.0.0.1:8001"), "{clients}");
    let unreachable =
        fault(&command(&format!("http://{unused}"), &["pools"]).output().expect("runs"));
    assert!(
        unreachable.contains(&unused.to_string()) && unreachable.contains("Is the gateway running"),
        "{unreachable}"
    );
    for wrong in
        ["127.0.0.1:8001", "https://127.0.0.1:8001", "http://127.0.0.1:8001/control", "nonsense"]
    {
        let reported = fault(&command(wrong, &["pools"]).output().expect("runs"));
        assert!(
            reported.contains(wrong) && reported.contains("http://127.0.0.1:8001"),
            "{reported}"
        );
    }
    let usage = command(&url(&gateway), &["pools", "other"]).output().expect("runs");
    assert_eq!(usage.status.code(), Some(2));
    assert!(
        text(&usage.stderr).contains("'stateless' and 'stateful'"),
        "the error lists the pools"
    );
    assert!(!format!("{usage:?}").contains(TOKEN), "a token is never shown");
}

#[test]
fn a_drain_that_cannot_complete_fails_at_once_with_the_reason() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let run =
        |arguments: &[&str]| fault(&command(&url(&gateway), arguments).output().expect("runs"));
    let reported = ctl(&gateway, &["drain", "stateful-2", "--deadline", "0", "--wait"]);
    assert!(reported.contains("is drained after"), "{reported}");
    let reported = ctl(&gateway, &["drain", "stateful-2", "--deadline", "3000"]);
    assert_eq!(reported, "stateful-2 is drained, until it is undrained.\n");
    for rejected in [run(&["drain", "stateful-1", "--wait"]), run(&["remove", "stateful-1"])] {
        assert!(
            rejected.contains("stateful-2 is drained") && rejected.contains("force"),
            "{rejected}"
        );
    }
    let last = run(&["drain", "stateful-1", "--deadline", "60", "--wait", "--force"]);
    assert!(
        last.contains("no other instance of its pool is available"),
        "long before the deadline: {last}"
    );
    ctl(&gateway, &["undrain", "stateful-2"]);
    let hypothetical =
        ctl(&gateway, &["explain", "stateful", "--key", "00000001", "--weight", "stateful-2:3"]);
    assert!(
        hypothetical.contains("stateful-1 → stateful-2")
            && hypothetical.contains("only to or from"),
        "{hypothetical}"
    );
    let weighed = ctl(&gateway, &["weight", "stateful-2", "3"]);
    assert!(
        weighed.contains("stateful-2 has the weight 3: 7"),
        "three quarters of the keys: {weighed}"
    );
    let explained = ctl(&gateway, &["explain", "stateful", "--key", "00000001"]);
    assert!(explained.contains("weight 3, weighted "), "{explained}");
    assert!(ctl(&gateway, &["pools"]).contains("    weight 3\n"));
    ctl(&gateway, &["remove", "stateful-1"]);
    ctl(&gateway, &["remove", "stateful-2", "--force"]);
    assert!(gateway.stateful().instances.is_empty());
}

#[test]
fn top_measures_requests_verdicts_and_durations() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let top = command(&url(&gateway), &["top", "--once", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut top = Some(top);
    let mut client = gateway.connect();
    let output = loop {
        client.send(&Request::get(INFO));
        let mut running = top.take().expect("it runs");
        if running.try_wait().expect("a child").is_some() {
            break running.wait_with_output().expect("output");
        }
        top = Some(running);
    };
    let reported: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let pool = &reported["pools"][0];
    assert_eq!(
        (&pool["name"], &pool["verdicts"][0][0]),
        (&"stateless".into(), &"off".into()),
        "{reported}"
    );
    for rate in [
        &pool["requests_per_s"],
        &pool["instances"][0]["requests_per_s"],
        &pool["p50_ms"],
        &pool["p99_ms"],
    ] {
        assert!(rate.as_f64().is_some_and(|rate| rate > 0.0), "{reported}");
    }
    let frame = ctl(&gateway, &["top", "--once"]);
    assert!(
        frame.contains("stateless-1") && frame.contains("REQ/S") && !frame.contains('\u{1b}'),
        "{frame}"
    );
    assert!(frame.lines().all(|line| line.chars().count() <= 80), "{frame}");
}

#[test]
fn events_are_followed_until_the_gateway_stops() {
    let upstream = Upstream::start("stateful-1");
    let mut gateway = Setup::new().stateful([&upstream]).start();
    let follow = |arguments: &[&str]| {
        let mut child = command(&url(&gateway), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"))
            .lines()
            .map(|line| line.expect("text"));
        (child, lines)
    };
    let (child, mut lines) =
        follow(&["events", "--types", "pools, strategy_changed", "--pool", "stateful"]);
    let (json_child, mut json_lines) = follow(&["events", "--json"]);
    assert!(lines.any(|line| line.contains("stateful-1")), "the pools come first");
    let first: Event = serde_json::from_str(&json_lines.next().expect("a line")).expect("an event");
    assert_eq!(first.name(), "pools");
    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    assert!(lines.any(|line| line == "stateful  the strategy is round_robin"));
    assert!(json_lines.any(|line| line.contains("strategy_changed")));
    gateway.terminate();
    assert!(lines.any(|line| line.contains("stopping")));
    for child in [child, json_child] {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "the command fails at the end of the stream");
        assert!(text(&output.stderr).contains("closed the stream"));
    }
}
