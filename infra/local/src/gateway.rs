//! The gateway: its configuration and command line.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::ports::loopback;
use crate::process::Launch;
use crate::settings::{Settings, log_file};
use crate::topology::{Gateways, Store};

mod control;
mod file;

pub use control::Control;

/// The gateway's record of changes by the control API.
const STATE_FILE: &str = "state.json";
/// Pre-stop delay of one of two gateways, seconds: Nginx's connections move to the other one.
const PRE_STOP_DELAY_S: u64 = 2;
/// Hot restart socket, in a private folder that the gateway makes.
const UPGRADE_SOCK: &str = "private/upgrade.sock";

/// The keys of `gateway.toml` that differ from the gateway's defaults.
#[derive(Serialize)]
struct Config {
    server: Server,
    control: Listener,
    health: Health,
    outlier_ejection: OutlierEjection,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Retries>,
    lab: Lab,
    pools: BTreeMap<PoolName, Members>,
}

#[derive(Serialize)]
struct Server {
    listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<String>,
    state_file: String,
    upgrade_sock: String,
    announce_s: u64,
    grace_period_s: u64,
}

#[derive(Serialize)]
struct Listener {
    listen: SocketAddr,
    /// The other gateway, if there are two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct Health {
    interval_ms: u64,
    timeout_ms: u64,
}

#[derive(Serialize)]
struct OutlierEjection {
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive_failures: Option<u32>,
    base_ejection_ms: u64,
    max_ejection_ms: u64,
}

#[derive(Serialize)]
struct Retries {
    attempt_timeout_ms: u64,
}

#[derive(Serialize)]
struct Lab {
    enabled: bool,
}

#[derive(Serialize)]
struct Members {
    strategy: Strategy,
    instances: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bounded_load: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_name: Option<&'static str>,
}

/// Addresses and files of one gateway.
pub(crate) struct Placement {
    dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) control: SocketAddr,
    log: PathBuf,
}

impl Placement {
    /// The stack's own gateway.
    fn first(settings: &Settings) -> Self {
        Self {
            dir: settings.state.join("gateway"),
            listen: loopback(settings.ports.gateway),
            control: loopback(settings.ports.control),
            log: settings.log(Component::Gateway),
        }
    }

    /// The second gateway, or a test's.
    pub(crate) fn second(settings: &Settings) -> Self {
        Self {
            dir: settings.state.join("gateway-2"),
            listen: loopback(settings.ports.second_gateway),
            control: loopback(settings.ports.second_control),
            log: log_file(&settings.state, "gateway-2"),
        }
    }
}

/// How one of the stack's gateways is started, with these instances in its pools.
pub(crate) fn launch(
    settings: &Settings,
    component: Component,
    instances: &[(PoolName, u16)],
) -> Result<Launch, StackError> {
    let placement = if component == Component::Gateway {
        Placement::first(settings)
    } else {
        Placement::second(settings)
    };
    let mut launch = launch_at(settings, &placement, instances)?;
    // The name in metrics. The first gateway keeps the program's default.
    if component == Component::SecondGateway {
        launch.env.push(("INSTANCE_ID".to_owned(), component.to_string().into()));
    }
    Ok(launch)
}

/// How a gateway is started at this placement.
pub(crate) fn launch_at(
    settings: &Settings,
    placement: &Placement,
    instances: &[(PoolName, u16)],
) -> Result<Launch, StackError> {
    let dir = &placement.dir;
    fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
    let members = |pool, strategy, bounded_load| {
        let ports = instances.iter().filter(|(of, _)| *of == pool).map(|&(_, port)| loopback(port));
        let tls_name = settings.tls.is_some().then_some("localhost");
        (pool, Members { strategy, instances: ports.collect(), bounded_load, tls_name })
    };
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    // A failover instance lacks memory-only sessions.
    let bounded_load = if settings.store == Store::Memory { Some(0.0) } else { None };
    let interval_ms = u64::try_from(settings.health_interval.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        server: Server {
            listen: placement.listen,
            tls_cert: settings.tls.as_ref().map(|tls| path(&tls.chain)),
            tls_key: settings.tls.as_ref().map(|tls| path(&tls.key)),
            state_file: dir.join(STATE_FILE).to_string_lossy().into_owned(),
            upgrade_sock: dir.join(UPGRADE_SOCK).to_string_lossy().into_owned(),
            // With one gateway, no load balancer needs time to switch.
            announce_s: if settings.gateways == Gateways::Two { PRE_STOP_DELAY_S } else { 0 },
            // Time for an old process to close its idle connections, plus a margin.
            grace_period_s: 7,
        },
        control: Listener { listen: placement.control, peers: peers(settings, placement) },
        // A check may take a whole interval.
        health: Health { interval_ms, timeout_ms: interval_ms },
        // The default's proportions to the health interval.
        outlier_ejection: OutlierEjection {
            consecutive_failures: settings.lenient_gateway.then_some(0),
            base_ejection_ms: 6 * interval_ms,
            max_ejection_ms: 60 * interval_ms,
        },
        retries: settings.lenient_gateway.then_some(Retries { attempt_timeout_ms: 0 }),
        lab: Lab { enabled: settings.lab },
        pools: BTreeMap::from([
            members(PoolName::Stateless, Strategy::RoundRobin, None),
            members(PoolName::Stateful, Strategy::Sticky, bounded_load),
        ]),
    };
    let text = toml::to_string(&config)
        .map_err(std::io::Error::other)
        .attempt(|| "write the gateway's configuration".to_owned())?;
    let (file, notes) = file::write(dir, &text)?;
    notes.iter().for_each(|note| (settings.progress)(note));
    let mut env = vec![
        ("CONTROL_TOKEN".to_owned(), settings.secrets.control_token.expose_secret().into()),
        ("INSTANCE_TOKEN".to_owned(), settings.secrets.instance_token.expose_secret().into()),
        ("JWT_JWKS_URL".to_owned(), settings.jwks_url().into()),
    ];
    if let Some(tls) = &settings.tls {
        env.push(("TLS_CA_FILE".to_owned(), tls.ca.clone().into()));
    }
    if settings.class.is_open {
        let page = settings.class.url(settings.ports.class);
        env.push(("CLASS_URL".to_owned(), format!("{page}#{}", settings.class_code).into()));
    }
    if settings.driver {
        let token = settings.secrets.driver_token.expose_secret().into();
        env.push(("GATEWAY_DRIVER".to_owned(), loopback(settings.ports.driver).to_string().into()));
        env.push(("DRIVER_TOKEN".to_owned(), token));
    }
    env.extend(settings.extra_env(Component::Gateway));
    Ok(Launch {
        program: settings.builds.binary("gateway")?,
        args: vec!["--config".into(), file.into()],
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: placement.log.clone(),
    })
}

/// The control planes of the stack's other gateways.
fn peers(settings: &Settings, placement: &Placement) -> Vec<SocketAddr> {
    let all = match settings.gateways {
        Gateways::One => Vec::new(),
        Gateways::Two => {
            vec![loopback(settings.ports.control), loopback(settings.ports.second_control)]
        }
    };
    all.into_iter().filter(|control| *control != placement.control).collect()
}

/// Discards changes made by the control API: a stack starts from its plan.
pub(crate) fn discard_runtime_changes(settings: &Settings) -> Result<(), StackError> {
    for placement in [Placement::first(settings), Placement::second(settings)] {
        let file = placement.dir.join(STATE_FILE);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StackError::Io { what: format!("remove {}", file.display()), source });
            }
            _ => {}
        }
    }
    Ok(())
}
