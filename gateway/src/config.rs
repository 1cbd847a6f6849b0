//! The gateway's configuration: a TOML file, then the environment, then one check of everything.
//!
//! Each section of the file is a module: what it may say, with every default, and how it is checked. [`Traffic`] is the
//! part that a reload may change while requests flow; [`Server`] and [`Control`] hold what only a restart can.

mod affinity;
mod check;
mod clients;
mod control;
mod discovery;
mod health;
mod lab;
mod limits;
mod outlier_ejection;
mod overload;
mod pools;
mod rate_limit;
mod retries;
mod server;
mod source;
mod timeouts;

use std::path::{Path, PathBuf};

use proto_contracts::{DeploymentName, InstanceName, PoolName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_kit::telemetry::TraceConfig;
use service_kit::tokens::TokenSettings;
use xxhash_rust::xxh3::xxh3_64;

use crate::pool::prober::Identity;
use crate::resilience::{outlier, rate_limit as rate, retry_budget};
use crate::routing::rendezvous::Seed;

pub use check::Problems;
pub use clients::ClientLimits;
pub use control::Control;
pub use discovery::Discovery;
pub use health::HealthChecks;
pub use lab::Lab;
pub use limits::Limits;
pub use overload::Overload;
pub use pools::{Pool, Protocol, ServiceName};
pub use rate_limit::Exempt;
pub use server::{RoutingHeaders, Server, TrustedProxies};
pub use source::Source;
pub use timeouts::{BodyPace, ClientTimeouts, Timeouts, UpstreamTimeouts};

use check::Check;

/// Everything that the gateway is told, checked.
#[derive(Debug)]
pub struct Config {
    /// By which name this gateway tells itself from others.
    pub name: InstanceName,
    /// Where and how the data plane runs.
    pub server: Server,
    /// The control plane.
    pub control: Control,
    /// What each request is held to.
    pub traffic: Traffic,
    /// Makes the rendezvous hashes; all gateways of one installation share it.
    pub seed: Seed,
    /// The health checks.
    pub health: HealthChecks,
    /// How the addresses behind the pools' DNS names are found.
    pub discovery: Discovery,
    /// What instances want to see of a gateway that drains them; without one it drains alone.
    pub instance_token: Option<SecretString>,
    /// Which deployment it belongs to; instances that name another are refused.
    pub deployment: Option<DeploymentName>,
    /// What the log shows, as a `tracing` filter.
    pub log_filter: String,
    /// Whose tokens tell users from each other; `None` when no key is given, and only addresses do.
    pub tokens: Option<TokenSettings>,
    /// Where traces are sent, if anywhere.
    pub traces: Option<TraceConfig>,
    /// How many connections all clients may have together; `None` for as many as the limit of descriptors allows.
    pub max_connections: Option<usize>,
    stateless: Pool,
    stateful: Pool,
}

/// What each request is held to. The data path reads it anew for every request, so it can change while traffic flows.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Who may tell the gateway a client's address and scheme.
    pub trusted_proxies: TrustedProxies,
    /// Whether clients see `X-Served-By`, `X-Affinity` and `Server-Timing`.
    pub routing_headers: RoutingHeaders,
    /// How large a request may be.
    pub limits: Limits,
    /// How long each step of it may take.
    pub timeouts: Timeouts,
    /// Whether a client may choose the strategy of its own requests.
    pub lab: Lab,
    /// When an instance is ejected; `None` for never.
    pub outlier_ejection: Option<outlier::Policy>,
    /// When a failed request is sent again.
    pub retries: retry_budget::Policy,
    /// How many requests instances and pools may have in flight.
    pub overload: Overload,
    /// How often one client may come; `None` for any number of times.
    pub rate_limit: Option<rate::Policy>,
    /// Whom no limit of a client concerns.
    pub exempt: Exempt,
    /// How much one client may hold at once.
    pub clients: ClientLimits,
}

/// The configuration file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: server::Section,
    control: control::Section,
    limits: limits::Section,
    timeouts: timeouts::Section,
    affinity: affinity::Section,
    health: health::Section,
    discovery: discovery::Section,
    lab: lab::Section,
    outlier_ejection: outlier_ejection::Section,
    retries: retries::Section,
    overload: overload::Section,
    rate_limit: rate_limit::Section,
    clients: clients::Section,
    pools: pools::Section,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not the TOML that is expected; the message names line and column.
    #[error("the configuration file {path} is wrong:\n{message}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// Values do not make sense; every one is listed.
    #[error("the configuration is wrong:\n{0}")]
    Invalid(Problems),
}

impl Config {
    /// Reads the file and lets the environment override it.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid TOML, or any value is wrong. All wrong values are told at once.
    pub fn load(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text)
            .map_err(|error| ConfigError::Malformed { path: path.to_owned(), message: error.to_string() })?;
        Self::checked(file, &environment).map_err(ConfigError::Invalid)
    }

    /// The settings that only a restart or an upgrade changes, with what tells whether they differ.
    pub(crate) fn fixed(&self) -> [(&'static str, String); 15] {
        let Self { name, server, control, seed, log_filter, traces, .. } = self;
        let token = control.token.as_ref().map(|token| xxh3_64(token.expose_secret().as_bytes()));
        [
            ("INSTANCE_ID", name.to_string()),
            ("DEPLOYMENT", format!("{:?}", self.deployment)),
            ("LOG_LEVEL", log_filter.clone()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT and its likes", format!("{traces:?}")),
            ("CONTROL_TOKEN", format!("{token:?}")),
            ("[server] listen", server.listen.to_string()),
            ("[server] threads", server.threads.to_string()),
            ("[server] state_file", format!("{:?}", server.state_file)),
            ("[server] upgrade_sock", format!("{:?}", server.upgrade_sock)),
            ("[server] announce_s", format!("{:?}", server.announce)),
            ("[server] grace_period_s", format!("{:?}", server.grace_period)),
            (
                "[control]",
                format!(
                    "{} {:?} {:?} {}",
                    control.listen, control.metrics_listen, control.allowed_hosts, control.event_sample_per_s
                ),
            ),
            ("[clients] max_connections", format!("{:?}", self.max_connections)),
            ("[affinity] seed", format!("{seed:?}")),
            ("[pools] protocol", format!("{:?} {:?}", self.stateless.protocol, self.stateful.protocol)),
        ]
    }

    /// Tells configurations apart: 16 hex digits. Secrets are no part of it, nor is what each of several gateways has for itself:
    /// name, addresses, files, log and traces.
    pub(crate) fn fingerprint(&self) -> String {
        let Self { traffic, seed, health, discovery, tokens, stateless, stateful, server, control, .. } = self;
        let waits = (server.announce, server.grace_period);
        let shown = (control.event_sample_per_s, &control.allowed_hosts);
        let shared = format!("{:?}", (traffic, seed, health, discovery, tokens, stateless, stateful, waits, shown));
        format!("{:016x}", xxh3_64(shared.as_bytes()))
    }

    /// What this gateway is to instances.
    pub(crate) fn identity(&self) -> Identity {
        Identity { instance_token: self.instance_token.clone(), deployment: self.deployment.clone() }
    }

    /// The configuration of one pool.
    pub fn pool(&self, name: PoolName) -> &Pool {
        match name {
            PoolName::Stateless => &self.stateless,
            PoolName::Stateful => &self.stateful,
        }
    }

    fn checked(file: File, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut check = Check::new(environment);
        let (server, trusted_proxies, routing_headers) = file.server.check(&mut check);
        let control = file.control.check(&mut check, &server);
        let limits = file.limits.check(&mut check);
        let timeouts = file.timeouts.check(&mut check);
        let seed = file.affinity.check(&mut check);
        let health = file.health.check(&mut check);
        let discovery = file.discovery.check(&mut check);
        let lab = file.lab.check();
        let outlier_ejection = file.outlier_ejection.check(&mut check);
        let retries = file.retries.check(&mut check);
        let overload = file.overload.check(&mut check);
        let (rate_limit, exempt) = file.rate_limit.check(&mut check);
        let (clients, max_connections) = file.clients.check(&mut check);
        let (stateless, stateful) = file.pools.check(&mut check);
        let instance_token = check.token("INSTANCE_TOKEN");
        let deployment = check.deployment();
        let log_filter = check.log_filter();
        let tokens = check.tokens();
        let name = check.name();
        let traces = check.traces(name.as_ref());
        check.finish(name).map(|name| Self {
            name,
            server,
            control,
            traffic: Traffic {
                trusted_proxies,
                routing_headers,
                limits,
                timeouts,
                lab,
                outlier_ejection,
                retries,
                overload,
                rate_limit,
                exempt,
                clients,
            },
            max_connections,
            seed,
            health,
            discovery,
            instance_token,
            deployment,
            log_filter,
            tokens,
            traces,
            stateless,
            stateful,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proto_contracts::control::Strategy;

    use super::*;
    use crate::routing::bound::LoadBound;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
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
    fn the_file_in_the_repository_is_the_default_too() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
        let shipped = Config::load(&path, |_| None).expect("fine");
        assert_eq!(format!("{shipped:?}"), format!("{:?}", load("", &[]).expect("fine")));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load(
            "[server]\nlisten = '127.0.0.1:1'\n[pools.stateful]\ninstances = ['127.0.0.1:2']",
            &[("GATEWAY_LISTEN", "127.0.0.1:3"), ("GATEWAY_STATEFUL_INSTANCES", "127.0.0.1:4, 127.0.0.1:5")],
        )
        .expect("fine");
        assert_eq!(config.server.listen.port(), 3);
        assert_eq!(config.pool(PoolName::Stateful).instances.len(), 2);
    }

    #[test]
    fn gateways_that_agree_have_the_same_fingerprint_whatever_they_are_called() {
        let fingerprint = |text, environment: &[(&str, &str)]| load(text, environment).expect("fine").fingerprint();
        let one =
            fingerprint("", &[("INSTANCE_ID", "gateway-1"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
        let other = [("INSTANCE_ID", "gateway-2"), ("GATEWAY_LISTEN", "127.0.0.1:3"), ("LOG_LEVEL", "debug")];
        assert_eq!(fingerprint("", &other), one);
        for text in
            ["[affinity]\nseed = 'x'", "[pools.stateful]\nstrategy = 'round_robin'", "[limits]\nmax_body_bytes = 1"]
        {
            assert_ne!(fingerprint(text, &other), one, "{text}");
        }
    }

    #[test]
    fn a_wrong_file_is_told_with_line_and_column() {
        for (text, expected) in [
            ("[server]\nlisten = 7", "line 2"),
            ("[server]\nlisten = 'nowhere'", "line 2"),
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
    fn every_wrong_value_is_told_at_once_by_its_name() {
        let message = problems(
            "[health]\nfails = 0\ninterval_ms = 100\ntimeout_ms = 200\n[limits]\nmax_body_bytes = 0\nmax_header_fields = 89\n\
             route_body_bytes = { '/nowhere' = 1 }\n\
             [timeouts]\nbody_ms = 0\nbody_grace_ms = 0\n[clients]\nmax_streams = 1000001\n\
             [affinity]\nseed = ''\n[pools.stateful]\ninstances = ['127.0.0.1:1', '127.0.0.1:1']\nbounded_load = 0.5\n\
             [discovery]\ninterval_ms = 100\ntimeout_ms = 200\n[pools.stateless]\ndiscover = '127.0.0.1:8101'",
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
            "[limits.route_body_bytes] \"/nowhere\" is no route",
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
    fn the_load_is_bounded_unless_it_is_told_not_to_be() {
        let bound = |text: &str| load(text, &[]).expect("fine").pool(PoolName::Stateful).load_bound;
        assert_eq!(bound(""), Some(LoadBound { factor: 1.25, floor: 64 }));
        assert_eq!(
            bound("[pools.stateful]\nbounded_load = 2.0\nbounded_load_floor = 0").map(|bound| bound.floor),
            Some(0)
        );
        assert_eq!(bound("[pools.stateful]\nbounded_load = 0.0"), None);
    }

    #[test]
    fn an_instance_of_the_list_may_have_a_weight() {
        let config = load(
            "[pools.stateful]\ninstances = ['127.0.0.1:1', { addr = '127.0.0.1:2', weight = 3 }]\nslow_start_s = 60",
            &[],
        );
        let config = config.expect("fine");
        let pool = config.pool(PoolName::Stateful);
        assert_eq!(pool.instances.len(), 2);
        let weights: Vec<_> = pool.weights.iter().map(|(addr, weight)| (addr.port(), weight.get())).collect();
        assert_eq!((weights, pool.slow_start.as_secs()), (vec![(2, 3)], 60));
        for (list, told) in [
            ("[{ addr = '127.0.0.1:2', weight = 0 }]", "drained"),
            ("[{ addr = '127.0.0.1:2', wieght = 2 }]", "wieght"),
            ("[{ weight = 2 }]", "addr"),
            ("['nowhere']", "no address such as"),
            ("[8201]", "or a table such as"),
        ] {
            let error = load(&format!("[pools.stateful]\ninstances = {list}"), &[]).expect_err("refused").to_string();
            assert!(error.contains(told), "{told} in {error}");
        }
        let slow = load("[pools.stateless]\nslow_start_s = 3601", &[]).expect_err("refused").to_string();
        assert!(slow.contains("[pools.stateless] slow_start_s"), "{slow}");
    }

    #[test]
    fn who_is_discovered_need_not_be_listed() {
        let config = load("[pools.stateful]\ndiscover = 'stateful-svc.tandem.internal:8201'", &[]).expect("fine");
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
    fn a_name_that_cannot_be_looked_up_is_refused() {
        let long = "a".repeat(64);
        for name in
            ["-a.test", "a..test", ".test", "a b", "*.test", "a.test\\", "ä.test", "127.0.0.1", "127.0.0.1.", &long]
        {
            let message = problems(&format!("[pools.stateful]\ndiscover = \"{}:1\"", name.escape_default()), &[]);
            assert!(message.contains("discover"), "{name}: {message}");
        }
    }

    #[test]
    fn a_host_that_no_request_could_name_is_refused() {
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
}
