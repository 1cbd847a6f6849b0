//! Turns the file and the environment into a checked [`Config`], or tells everything that is wrong with them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use proto_contracts::InstanceName;
use proto_contracts::control::Strategy;
use secrecy::SecretString;

use crate::config::file::{File, Pool};
use crate::config::{Config, ControlConfig, HealthConfig, PoolConfig, RoutingHeaders, ServerConfig};
use crate::pool::Thresholds;
use crate::routing::bound::LoadBound;
use crate::routing::rendezvous::Seed;

/// The shortest control token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_LEN: usize = 16;

/// Below 1, not all instances together could take the load; above 10, a bound bounds nothing.
const LOAD_FACTORS: std::ops::RangeInclusive<f64> = 1.0..=10.0;

/// What is wrong, a line each.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    fn unless(&mut self, fine: bool, setting: &str, rule: impl fmt::Display) {
        if !fine {
            self.0.push(format!("{setting} {rule}"));
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|problem| format!("  {problem}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

pub(super) fn check(file: File, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let listen = address(&mut problems, &environment, "GATEWAY_LISTEN").unwrap_or(file.server.listen);
    let control_listen = address(&mut problems, &environment, "GATEWAY_CONTROL_LISTEN").unwrap_or(file.control.listen);
    problems.unless(
        listen != control_listen || listen.port() == 0,
        "[control] listen",
        "must differ from [server] listen: clients must not reach the control plane",
    );

    let (interval_ms, timeout_ms) = (file.health.interval_ms, file.health.timeout_ms);
    problems.unless(interval_ms > 0, "[health] interval_ms", "must be at least 1");
    problems.unless(
        (1..=interval_ms).contains(&timeout_ms),
        "[health] timeout_ms",
        format_args!("must be 1 to interval_ms ({interval_ms})"),
    );
    problems.unless(file.health.fails > 0, "[health] fails", "must be at least 1");
    problems.unless(file.health.passes > 0, "[health] passes", "must be at least 1");
    problems.unless(file.limits.max_body_bytes > 0, "[limits] max_body_bytes", "must be at least 1");
    problems.unless(!file.affinity.seed.is_empty(), "[affinity] seed", "must not be empty");
    problems.unless(
        !file.control.allowed_hosts.is_empty(),
        "[control] allowed_hosts",
        "must name a host, or nobody can use the control plane",
    );

    let token = environment("CONTROL_TOKEN").filter(|token| !token.is_empty());
    let token_fits = token.as_ref().is_none_or(|token| token.len() >= MIN_TOKEN_LEN);
    problems.unless(
        token_fits,
        "CONTROL_TOKEN",
        format_args!("must have at least {MIN_TOKEN_LEN} characters; make one with: openssl rand -hex 24"),
    );

    let log_filter = environment("LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
    problems.unless(
        tracing_subscriber::EnvFilter::try_new(&log_filter).is_ok(),
        "LOG_LEVEL",
        format_args!("is {log_filter:?}; write a level such as info, or a filter such as info,gateway=debug"),
    );

    let stateless = pool(
        &mut problems,
        &environment,
        file.pools.stateless,
        &PoolDefaults {
            section: "[pools.stateless]",
            variable: "GATEWAY_STATELESS_INSTANCES",
            strategy: Strategy::RoundRobin,
            port: 8101,
        },
    );
    let stateful = pool(
        &mut problems,
        &environment,
        file.pools.stateful,
        &PoolDefaults {
            section: "[pools.stateful]",
            variable: "GATEWAY_STATEFUL_INSTANCES",
            strategy: Strategy::Sticky,
            port: 8201,
        },
    );

    let name = name(&mut problems, &environment);
    let (Some(name), true) = (name, problems.0.is_empty()) else { return Err(problems) };
    Ok(Config {
        name,
        server: ServerConfig {
            listen,
            threads: match file.server.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            },
            trusted_proxies: file.server.trusted_proxies,
            routing_headers: if file.server.expose_routing { RoutingHeaders::Exposed } else { RoutingHeaders::Hidden },
            state_file: environment("GATEWAY_STATE_FILE")
                .filter(|path| !path.is_empty())
                .map(Into::into)
                .or(file.server.state_file),
            grace_period: Duration::from_secs(file.server.grace_period_s),
        },
        control: ControlConfig {
            listen: control_listen,
            allowed_hosts: file.control.allowed_hosts,
            token: token.map(SecretString::from),
        },
        max_body_bytes: file.limits.max_body_bytes,
        seed: Seed::from_text(&file.affinity.seed),
        health: HealthConfig {
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            thresholds: Thresholds { fails: file.health.fails, passes: file.health.passes },
        },
        log_filter,
        stateless,
        stateful,
    })
}

fn name(problems: &mut Problems, environment: impl Fn(&str) -> Option<String>) -> Option<InstanceName> {
    let text = environment("INSTANCE_ID").unwrap_or_else(|| "gateway-1".to_owned());
    text.parse().map_err(|error| problems.0.push(format!("INSTANCE_ID is {text:?}: {error}"))).ok()
}

/// What a pool is called in its settings, and what it is when they say nothing.
struct PoolDefaults {
    section: &'static str,
    variable: &'static str,
    strategy: Strategy,
    port: u16,
}

fn pool(
    problems: &mut Problems,
    environment: impl Fn(&str) -> Option<String>,
    file: Pool,
    defaults: &PoolDefaults,
) -> PoolConfig {
    let from_environment = environment(defaults.variable);
    let instances_setting = format!("{} instances", defaults.section);
    let setting = if from_environment.is_some() { defaults.variable } else { &instances_setting };
    let instances = match from_environment {
        Some(list) => list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .filter_map(|text| parse_address(problems, defaults.variable, text))
            .collect(),
        None => file.instances.unwrap_or_else(|| vec![([127, 0, 0, 1], defaults.port).into()]),
    };
    let distinct: BTreeSet<_> = instances.iter().collect();
    problems.unless(distinct.len() == instances.len(), setting, "names an address twice");
    problems.unless(
        file.bounded_load == 0.0 || LOAD_FACTORS.contains(&file.bounded_load),
        &format!("{} bounded_load", defaults.section),
        format_args!("must be 0 (off), or {} to {}", LOAD_FACTORS.start(), LOAD_FACTORS.end()),
    );
    let bound = LoadBound { factor: file.bounded_load, floor: file.bounded_load_floor };
    let load_bound = (bound.factor > 0.0).then_some(bound);
    PoolConfig { strategy: file.strategy.unwrap_or(defaults.strategy), instances, load_bound }
}

fn address(
    problems: &mut Problems,
    environment: impl Fn(&str) -> Option<String>,
    variable: &'static str,
) -> Option<SocketAddr> {
    parse_address(problems, variable, &environment(variable)?)
}

fn parse_address(problems: &mut Problems, setting: &str, text: &str) -> Option<SocketAddr> {
    let address = text.parse().ok();
    problems.unless(
        address.is_some(),
        setting,
        format_args!("has {text:?}, which is no address such as 127.0.0.1:8000"),
    );
    address
}
