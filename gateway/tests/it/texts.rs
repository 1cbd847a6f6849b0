//! Snapshots of what users read: `--help`, configuration errors, problem documents. CONTRIBUTING.md
//! describes how to accept a change.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::Value;
use service_kit::testing::program::printed;

use crate::client::{Reply, Request};
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::Upstream;

const STRATEGY: &str = "/control/v1/pools/stateful/strategy";
const INSTANCES: &str = "/control/v1/pools/stateful/instances";

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    printed(env!("CARGO_BIN_EXE_gateway"), arguments, environment).expect("runs")
}

#[test]
fn help() {
    assert_snapshot!("help", run(&["--help"], &[]));
    let commands = [
        "pools", "top", "strategy", "add", "canary", "weight", "remove", "drain", "undrain",
        "explain", "events", "reload",
    ];
    let mut text = run(&["ctl", "--help"], &[]);
    for command in commands {
        write!(text, "\n--- ctl {command}\n\n{}", run(&["ctl", command, "--help"], &[]))
            .expect("writes");
    }
    assert_snapshot!("ctl_help", text);
}

#[test]
fn errors_of_the_command_line() {
    let wrong: [&[&str]; 6] = [
        &["--confg", "x"],
        &["ctl"],
        &["ctl", "strategy", "stateful", "stickey"],
        &["ctl", "weight", "stateful-1", "0"],
        &["ctl", "explain", "stateful", "--key", "0BADCAFE"],
        &["ctl", "--control", "http://127.0.0.1:1", "pools"],
    ];
    let mut text = String::new();
    for arguments in wrong {
        writeln!(text, "--- gateway {}\n\n{}", arguments.join(" "), run(arguments, &[]))
            .expect("writes");
    }
    assert_snapshot!(text);
}

#[test]
fn errors_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    let path = file.to_str().expect("text");
    let wrong = [
        "listen",
        "[server]\nlissten = '127.0.0.1:8000'",
        "[server]\nlisten = 'localhost'",
        "[server]\ntrusted_proxies = ['10.0.0.0/33']",
        "[server]\nannounce_s = -1",
        "[control]\nallowed_hosts = []",
        "[cors]\nallowed_origins = ['*', 'null', 'https://app.example/', 'https://app.example:443']",
        "[cors]\nallowed_origins = ['app.example', 'https://App.example']\nmax_age_s = 100000",
        "[limits]\nmax_header_fields = 1000\nmax_body_bytes = 0",
        "[limits.route_body_bytes]\n'/api/v1/unknown' = 5",
        "[timeouts]\nheader_ms = 0\nbody_ms = 'long'",
        "[timeouts]\nheader_ms = 0",
        "[affinity]\nseed = ''",
        "[health]\nfails = 0\ntimeout_ms = 0",
        "[discovery]\nresolver = 'dns.example'",
        "[outlier_ejection]\nbase_ejection_ms = 0\nmax_percent = 101",
        "[outlier_ejection]\nbase_ejection_ms = 5000\nmax_ejection_ms = 1000",
        "[retries]\nbudget_percent = 101\nmax_attempts = 0",
        "[overload]\nmin_in_flight = 0",
        "[rate_limit]\nburst = 0",
        "[rate_limit]\nexempt = ['localhost']",
        "[pools.stateless]\nstrategy = 'least_conn'",
        "[pools.stateless]\nprotocol = 'h3'",
        "[pools.stateful]\ninstances = ['127.0.0.1:8201', '127.0.0.1:8201']",
        "[pools.stateful]\ninstances = [{ addr = '127.0.0.1:8201', weight = 257 }]",
        "[pools.stateful]\ndiscover = 'stateful-svc'",
        "[pools.stateful]\nbounded_load = 0.5",
        "[pools.third]\ninstances = ['127.0.0.1:8301']",
    ];
    let mut text = String::new();
    for content in wrong {
        std::fs::write(&file, content).expect("writes");
        let printed = run(&["--check-config", "--config", path], &[]).replace(path, "gateway.toml");
        writeln!(text, "{content}\n\n    {}\n", printed.trim_end().replace('\n', "\n    "))
            .expect("writes");
    }
    let absent = folder.path().join("absent.toml");
    let absent = absent.to_str().expect("text");
    text.push_str(
        &run(&["--check-config", "--config", absent], &[]).replace(absent, "absent.toml"),
    );
    assert_snapshot!(text);
}

#[test]
fn errors_of_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "").expect("writes");
    let path = file.to_str().expect("text");
    let wrong = [
        ("GATEWAY_LISTEN", "8000"),
        ("GATEWAY_CONTROL_LISTEN", "localhost:8001"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8;::1"),
        ("GATEWAY_RATE_LIMIT_EXEMPT", "all"),
        ("GATEWAY_STATEFUL_INSTANCES", "stateful-1:8201"),
        ("GATEWAY_STATEFUL_DISCOVER", "stateful-svc"),
        ("INSTANCE_ID", "gateway 1"),
        ("DEPLOYMENT", "a b"),
        ("CONTROL_TOKEN", "short"),
        ("CONTROL_TOKEN_FILE", "/missing/token"),
        ("INSTANCE_TOKEN", "short"),
        ("JWT_PUBLIC_KEY", "no key"),
        ("LOG_LEVEL", "loud"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("TANDEM_MODE", "test"),
    ];
    let mut text = String::new();
    for (variable, value) in wrong {
        let printed = run(&["--check-config", "--config", path], &[(variable, value)])
            .replace(path, "gateway.toml");
        writeln!(
            text,
            "{variable}={value}\n\n    {}\n",
            printed.trim_end().replace('\n', "\n    ")
        )
        .expect("writes");
    }
    assert_snapshot!(text);
}

/// Status, cause and document of a response, without what differs from run to run.
fn document(what: &str, reply: &Reply, upstreams: &[&Upstream]) -> String {
    let mut body: Value = reply.json();
    if let Some(id) = body.get_mut("request_id") {
        *id = "<id>".into();
    }
    let mut text = body.to_string();
    for (number, upstream) in upstreams.iter().enumerate() {
        text = text.replace(&upstream.addr().to_string(), &format!("<address {}>", number + 1));
    }
    format!("{what}\n    {} {text}\n\n", reply.status)
}

#[test]
fn problems_of_the_control_plane() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let with_token = [
        ("PUT", "/control/v1/pools/other/strategy", r#"{"strategy":"sticky"}"#),
        ("PUT", STRATEGY, r#"{"strategy":"stickey"}"#),
        ("PUT", STRATEGY, r#"{"strategy":"sticky","x":1}"#),
        ("PUT", STRATEGY, "{"),
        ("POST", STRATEGY, "{}"),
        ("POST", INSTANCES, r#"{"addr":"localhost:1"}"#),
        ("POST", INSTANCES, r#"{"addr":"127.0.0.1:0"}"#),
        ("PATCH", "/control/v1/pools/stateful/instances/stateful-1", r#"{"weight":0}"#),
        ("DELETE", "/control/v1/pools/stateful/instances/unknown", ""),
        (
            "POST",
            "/control/v1/pools/stateful/instances/stateful-1/drain",
            r#"{"deadline_s":"soon"}"#,
        ),
        ("GET", "/control/v1/pools/stateful/explain", ""),
        ("GET", "/control/v1/pools/stateful/explain?key=0000000A", ""),
        ("GET", "/control/v1/pools/stateful/explain?key=0000000a&without=stateful-9", ""),
        ("GET", "/control/v1/pools/stateful/explain?key=0000000a&with=stateful-1", ""),
        ("GET", "/control/v1/events?types=everything", ""),
        ("GET", "/control/v1/pools?pool=stateful", ""),
        ("OPTIONS", "/control/v2", ""),
        ("GET", "/control/v2", ""),
    ];
    let mut text = String::new();
    let members: Vec<&Upstream> = upstreams.iter().collect();
    for (method, path, body) in with_token {
        let request = Request::new(method, path);
        let reply = gateway.change(if body.is_empty() { request } else { request.json(body) });
        text.push_str(&document(format!("{method} {path} {body}").trim_end(), &reply, &members));
    }
    let anonymous = gateway.request(Request::new("PUT", STRATEGY).json(r#"{"strategy":"sticky"}"#));
    text.push_str(&document("without a token", &anonymous, &members));
    let plain = gateway.change(Request::new("PUT", STRATEGY).body(b"{}"));
    text.push_str(&document("without a content type", &plain, &members));
    let misdirected = gateway
        .connect_control()
        .send(&Request::get("/control/v1/pools").header("host", "evil.test"));
    text.push_str(&document("at another host", &misdirected, &members));
    assert_snapshot!(text);
}

/// The response to these bytes.
fn to_bytes(gateway: &TestGateway, bytes: &str) -> Reply {
    let mut client = gateway.connect();
    client.write(bytes.as_bytes());
    client.reply_to("GET")
}

#[test]
fn problems_of_the_data_plane() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).checked_once().start();
    let line = format!("GET {INFO} HTTP/1.1\r\n");
    let long = "x".repeat(9_000);
    let wrong = [
        ("no Host", format!("{line}\r\n")),
        ("two Hosts", format!("{line}host: a\r\nhost: b\r\n\r\n")),
        ("a bare LF", format!("{line}host: a\n\r\n")),
        ("a folded line", format!("{line}host: a\r\n b\r\n\r\n")),
        ("a space before the colon", format!("{line}host : a\r\n\r\n")),
        (
            "two framings",
            format!("{line}host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        ),
        ("another coding", format!("{line}host: a\r\ntransfer-encoding: gzip\r\n\r\n")),
        ("a length that is no number", format!("{line}host: a\r\ncontent-length: +1\r\n\r\n")),
        ("an expectation", format!("{line}host: a\r\nexpect: tea\r\n\r\n")),
        (
            "another upgrade",
            format!("{line}host: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
        ),
        ("a dot segment", "GET /api/v1/../x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("an escaped slash", "GET /api%2fv1 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("another method", "BREW /api/v1/stateless/info HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("another version", format!("GET {INFO} HTTP/2.0\r\nhost: a\r\n\r\n")),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")),
        ("too many fields", format!("{line}host: a\r\n{}\r\n", "x: y\r\n".repeat(100))),
        ("an unknown path", "GET /no-such-path HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("no instance", "GET /api/v1/stateful/sessions/x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
    ];
    let mut text = String::new();
    for (what, bytes) in wrong {
        text.push_str(&document(what, &to_bytes(&gateway, &bytes), &[&upstream]));
    }
    assert_snapshot!(text);
}
