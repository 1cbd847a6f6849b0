use std::io::Write;

use proto_contracts::control::Strategy;

use super::*;
use crate::resilience::load_bound::LoadBound;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let lookup = |name: &str| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Config::load(file.path(), lookup)
}

fn problems(text: &str, environment: &[(&str, &str)]) -> String {
    load(text, environment).expect_err("refused").to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    let config = load("", &[]).expect("fine");
    assert_eq!(config.server.listen.port(), 8000);
    assert_eq!(config.pool(PoolName::Stateful).strategy, Strategy::Sticky);
    assert_eq!(config.pool(PoolName::Stateless).strategy, Strategy::RoundRobin);
    assert!(config.server.threads >= 1, "one per core");
}

#[test]
fn the_file_in_the_repository_equals_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
    let shipped = Config::load(&path, |_| None).expect("fine");
    assert_eq!(format!("{shipped:?}"), format!("{:?}", load("", &[]).expect("fine")));
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = load(
        "[server]\nlisten = '127.0.0.1:1'\n[pools.stateful]\ninstances = ['127.0.0.1:2']",
        &[
            ("GATEWAY_LISTEN", "127.0.0.1:3"),
            ("GATEWAY_STATEFUL_INSTANCES", "127.0.0.1:4, 127.0.0.1:5"),
        ],
    )
    .expect("fine");
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.pool(PoolName::Stateful).instances.len(), 2);
}

#[test]
fn gateways_with_the_same_settings_have_the_same_fingerprint() {
    let fingerprint =
        |text, environment: &[(&str, &str)]| load(text, environment).expect("fine").fingerprint();
    let one = fingerprint(
        "",
        &[("INSTANCE_ID", "gateway-1"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")],
    );
    let other =
        [("INSTANCE_ID", "gateway-2"), ("GATEWAY_LISTEN", "127.0.0.1:3"), ("LOG_LEVEL", "debug")];
    assert_eq!(fingerprint("", &other), one);
    for text in [
        "[affinity]\nseed = 'x'",
        "[pools.stateful]\nstrategy = 'round_robin'",
        "[limits]\nmax_body_bytes = 1",
    ] {
        assert_ne!(fingerprint(text, &other), one, "{text}");
    }
}

#[test]
fn a_malformed_file_is_reported_with_line_and_column() {
    for (text, expected) in [
        ("[server]\nlisten = 7", "line 2"),
        ("[server]\nlisten = 'no-port'", "line 2"),
        ("[server]\nlissten = '127.0.0.1:1'", "lissten"),
        ("[pools.stateful]\nstrategy = 'stickey'", "stickey"),
        ("[pools.other]\n", "other"),
        ("[server", "line 1"),
    ] {
        let message = problems(text, &[]);
        assert!(message.contains(expected), "{text:?} gives {message}");
    }
}

#[test]
fn all_invalid_values_are_reported_by_name() {
    let message = problems(
        "[health]\nfails = 0\ninterval_ms = 100\ntimeout_ms = 200\n[limits]\nmax_body_bytes = 0\n\
         max_header_fields = 89\n\
         route_body_bytes = { '/no-such-path' = 1 }\n\
         [timeouts]\nbody_ms = 0\nbody_grace_ms = 0\n[clients]\nmax_streams = 1000001\n\
         [affinity]\nseed = ''\n[pools.stateful]\ninstances = ['127.0.0.1:1', '127.0.0.1:1']\n\
         bounded_load = 0.5\n\
         [discovery]\ninterval_ms = 100\ntimeout_ms = 200\n[pools.stateless]\n\
         strategy = 'ip_hash'\n\
         discover = '127.0.0.1:8101'",
        &[
            ("GATEWAY_STATEFUL_DISCOVER", "stateful-svc"),
            ("GATEWAY_STATELESS_INSTANCES", "localhost"),
            ("CONTROL_TOKEN", "short"),
            ("GATEWAY_LISTEN", "x"),
            ("OTEL_TRACES_SAMPLER", "never"),
            ("JWT_PUBLIC_KEY", "short"),
        ],
    );
    for name in [
        "[health] fails",
        "[health] timeout_ms",
        "[limits] max_body_bytes",
        "[limits.route_body_bytes] \"/no-such-path\" is not a route",
        "[limits] max_header_fields",
        "[timeouts] body_ms",
        "[timeouts] body_grace_ms",
        "[clients] max_streams",
        "[affinity] seed",
        "[pools.stateful] instances",
        "[pools.stateful] bounded_load",
        "[discovery] timeout_ms",
        "[pools.stateless] discover",
        "GATEWAY_STATEFUL_DISCOVER",
        "GATEWAY_STATELESS_INSTANCES",
        "CONTROL_TOKEN",
        "GATEWAY_LISTEN",
        "OTEL_TRACES_SAMPLER",
        "JWT_PUBLIC_KEY",
    ] {
        assert!(message.contains(name), "{name} in {message}");
    }
    assert!(!message.contains("short"), "a secret is not repeated");
}

#[test]
fn the_load_is_bounded_by_default() {
    let bound = |text: &str| load(text, &[]).expect("fine").pool(PoolName::Stateful).load_bound;
    assert_eq!(bound(""), Some(LoadBound { factor: 1.25, floor: 64 }));
    assert_eq!(
        bound("[pools.stateful]\nbounded_load = 2.0\nbounded_load_floor = 0")
            .map(|bound| bound.floor),
        Some(0)
    );
    assert_eq!(bound("[pools.stateful]\nbounded_load = 0.0"), None);
}

#[test]
fn peers_are_addresses_or_names_with_a_port() {
    let peers = |text: &str, environment: &[(&str, &str)]| {
        let peers = load(text, environment).expect("fine").control.peers;
        peers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(peers("", &[]).is_empty());
    let file = "[control]\npeers = ['10.0.0.2:8001', '[fd00::2]:8001', 'gateway:8001']";
    assert_eq!(peers(file, &[]), ["10.0.0.2:8001", "[fd00::2]:8001", "gateway:8001"]);
    assert_eq!(
        peers(file, &[("GATEWAY_PEERS", "a.test:1, 10.0.0.3:2")]),
        ["a.test:1", "10.0.0.3:2"]
    );
    for wrong in
        ["10.0.0.2", "10.0.0.2:0", "0.0.0.0:8001", "gateway", "http://gateway:8001", "a:b:1", ""]
    {
        let message = problems(&format!("[control]\npeers = ['{wrong}']"), &[]);
        assert!(message.contains("[control] peers") && message.contains(wrong), "{message}");
    }
    assert!(problems("", &[("GATEWAY_PEERS", "10.0.0.2")]).contains("GATEWAY_PEERS has"));
}

#[test]
fn an_instance_of_the_list_may_have_a_weight() {
    let config = load(
        "[pools.stateful]\ninstances = ['127.0.0.1:1', { addr = '127.0.0.1:2', weight = 3 }]\n\
         slow_start_s = 60",
        &[],
    );
    let config = config.expect("fine");
    let pool = config.pool(PoolName::Stateful);
    assert_eq!(pool.instances.len(), 2);
    let weights: Vec<_> =
        pool.weights.iter().map(|(addr, weight)| (addr.port(), weight.get())).collect();
    assert_eq!((weights, pool.slow_start.as_secs()), (vec![(2, 3)], 60));
    for (list, expected) in [
        ("[{ addr = '127.0.0.1:2', weight = 0 }]", "drain it"),
        ("[{ addr = '127.0.0.1:2', wieght = 2 }]", "wieght"),
        ("[{ weight = 2 }]", "addr"),
        ("['no-port']", "not an address such as"),
        ("[8201]", "or a table such as"),
    ] {
        let error = load(&format!("[pools.stateful]\ninstances = {list}"), &[])
            .expect_err("refused")
            .to_string();
        assert!(error.contains(expected), "{expected} in {error}");
    }
    let slow =
        load("[pools.stateless]\nslow_start_s = 3601", &[]).expect_err("refused").to_string();
    assert!(slow.contains("[pools.stateless] slow_start_s"), "{slow}");
}

#[test]
fn discovered_instances_need_not_be_listed() {
    let config = load("[pools.stateful]\ndiscover = 'stateful-svc.tandem.internal:8201'", &[])
        .expect("fine");
    let pool = config.pool(PoolName::Stateful);
    assert_eq!(
        pool.discover.as_ref().map(ToString::to_string).as_deref(),
        Some("stateful-svc.tandem.internal:8201")
    );
    assert!(pool.instances.is_empty());
    let both = load(
        "[pools.stateful]\ndiscover = 'elsewhere:1'\ninstances = ['127.0.0.1:1']",
        &[("GATEWAY_STATEFUL_DISCOVER", "stateful-svc:8201")],
    );
    let both = both.expect("fine");
    assert_eq!(both.pool(PoolName::Stateful).instances.len(), 1);
    assert_eq!(both.pool(PoolName::Stateful).discover.as_ref().map(|name| name.port), Some(8201));
}

#[test]
fn an_invalid_dns_name_is_rejected() {
    let long = "a".repeat(64);
    for name in [
        "-a.test",
        "a..test",
        ".test",
        "a b",
        "*.test",
        "a.test\\",
        "ä.test",
        "127.0.0.1",
        "127.0.0.1.",
        &long,
    ] {
        let message =
            problems(&format!("[pools.stateful]\ndiscover = \"{}:1\"", name.escape_default()), &[]);
        assert!(message.contains("discover"), "{name}: {message}");
    }
}

#[test]
fn an_invalid_host_is_rejected() {
    for host in ["", "localhost:8001", "localhost:", "::1", "http://localhost", "a b"] {
        let message = problems(&format!("[control]\nallowed_hosts = ['{host}']"), &[]);
        assert!(message.contains("allowed_hosts"), "{host}: {message}");
    }
    assert!(load("[control]\nallowed_hosts = ['[::1]', 'dash.example', '10.0.0.1']", &[]).is_ok());
}

#[test]
fn one_address_cannot_be_both_planes() {
    let message = problems("[server]\nlisten='127.0.0.1:1'\n[control]\nlisten='127.0.0.1:1'", &[]);
    assert!(message.contains("[control] listen"), "{message}");
}

#[test]
fn a_driver_has_a_port_and_a_token() {
    let token = ("DRIVER_TOKEN", "0123456789abcdef");
    let driver = |authority: &str| format!("[control]\ndriver = '{authority}'");
    let config = load(&driver("127.0.0.1:8003"), &[token]).expect("valid");
    assert_eq!(config.control.driver.expect("a driver").authority, "127.0.0.1:8003");
    for name in ["driver:8003", "[::1]:8003"] {
        assert!(load("", &[("GATEWAY_DRIVER", name), token]).is_ok(), "{name}");
    }
    for wrong in ["driver", "driver:", "http://driver:8003", "driver:8003/x", "a@driver:8003"] {
        let message = problems(&driver(wrong), &[token]);
        assert!(message.contains("[control] driver"), "{wrong}: {message}");
    }
    let message = problems(&driver("127.0.0.1:8003"), &[]);
    assert!(message.contains("DRIVER_TOKEN"), "{message}");
    assert!(load("", &[token]).expect("valid").control.driver.is_none(), "a token alone");
}

#[test]
fn an_agent_is_on_loopback_and_has_a_token() {
    let token = ("AGENT_TOKEN", "0123456789abcdef");
    let agent = |addr: &str| format!("[control]\nagent = '{addr}'");
    let config = load(&agent("127.0.0.1:8002"), &[token]).expect("valid");
    assert_eq!(config.control.agent.expect("an agent").addr, ([127, 0, 0, 1], 8002).into());
    assert!(load("", &[("GATEWAY_AGENT", "[::1]:8002"), token]).is_ok());
    for (addr, environment) in [("192.0.2.7:8002", &[token][..]), ("127.0.0.1:8002", &[])] {
        let message = problems(&agent(addr), environment);
        assert!(message.contains("[control] agent"), "{message}");
    }
    assert!(load("", &[token]).expect("valid").control.agent.is_none(), "a token alone");
}
