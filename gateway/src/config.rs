//! The gateway's configuration: a TOML file, then the environment, then one check of everything.
//!
//! Each section of the file is a module with its defaults and its validation. [`Traffic`] is the
//! part that a reload changes; [`Server`] and [`Control`] need a restart.

mod affinity;
mod check;
mod clients;
mod control;
mod cors;
mod discovery;
mod health;
mod identity;
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
mod upstream_tls;

use std::path::{Path, PathBuf};

use proto_contracts::{DeploymentName, InstanceName, PoolName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_kit::telemetry::TraceConfig;
use service_kit::tls::{ServerCertificate, Trust};
use service_kit::tokens::TokenSettings;
use xxhash_rust::xxh3::xxh3_64;

use crate::rendezvous::Seed;
use crate::resilience::{outlier, rate_limit as rate, retry_budget};

pub use check::Problems;
pub use clients::ClientLimits;
pub use control::{Agent, Control, Driver, PeerName, Room};
pub use cors::Cors;
pub use discovery::DiscoveryConfig;
pub use health::{HealthCheckConfig, Thresholds};
pub use identity::Identity;
pub use lab::Lab;
pub use limits::Limits;
pub use overload::Overload;
pub use pools::{PoolConfig, Protocol, ServiceName};
pub use rate_limit::Exempt;
pub use server::{Engine, RoutingHeaders, Server, TrustedProxies};
pub use source::Source;
pub use timeouts::{BodyPace, ClientTimeouts, Timeouts, UpstreamTimeouts};
pub use upstream_tls::{InvalidTls, UpstreamTls};

use check::Check;

/// The number of settings that only a restart changes.
pub(crate) const FIXED: usize = 17;

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// This gateway's name.
    pub name: InstanceName,
    /// Where and how the data plane runs.
    pub server: Server,
    /// The control plane.
    pub control: Control,
    /// The part that a reload changes.
    pub traffic: Traffic,
    /// Seed of the rendezvous hashes, the same in all gateways of an installation.
    pub seed: Seed,
    /// The health checks.
    pub health: HealthCheckConfig,
    /// Discovery by DNS.
    pub discovery: DiscoveryConfig,
    /// Token for drain and weight requests to instances; without one, a drain or weight holds at
    /// this gateway alone.
    pub instance_token: Option<SecretString>,
    /// The gateway's deployment; instances of another deployment are rejected.
    pub deployment: Option<DeploymentName>,
    /// The log level as a `tracing` filter.
    pub log_filter: String,
    /// How tokens are verified; `None`: clients are identified by address.
    pub tokens: Option<TokenSettings>,
    /// Where traces are sent.
    pub traces: Option<TraceConfig>,
    /// The authorities of servers that are reached by TLS.
    pub trust: Trust,
    /// Limit of client connections; `None`: derived from the limit of file descriptors.
    pub max_connections: Option<usize>,
    stateless: PoolConfig,
    stateful: PoolConfig,
}

/// The part of the configuration that a reload changes. Each request loads it once.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Peers whose `X-Forwarded-*` headers are trusted.
    pub trusted_proxies: TrustedProxies,
    /// Whether responses have `X-Served-By`, `X-Affinity` and `Server-Timing`.
    pub routing_headers: RoutingHeaders,
    /// What exchanges requests with instances.
    pub engine: Engine,
    /// Which pages of other origins may use the API; `None`: none.
    pub cors: Option<Cors>,
    /// Size limits of requests.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Whether clients may override the strategy.
    pub lab: Lab,
    /// Outlier ejection; `None`: off.
    pub outlier_ejection: Option<outlier::Policy>,
    /// Retry policy.
    pub retries: retry_budget::Policy,
    /// Limits of requests in flight per instance and pool.
    pub overload: Overload,
    /// Rate limit per client; `None`: off.
    pub rate_limit: Option<rate::Policy>,
    /// Clients without limits.
    pub exempt: Exempt,
    /// Concurrency limits per client.
    pub clients: ClientLimits,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: server::Section,
    control: control::Section,
    cors: cors::Section,
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

/// The configuration is not valid.
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
    /// The file is not valid TOML or has unknown keys; the message has line and column.
    #[error("the configuration file {path} is invalid:\n{message}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// Values are not valid; all are listed.
    #[error("the configuration is invalid:\n{0}")]
    Invalid(Problems),
}

impl Config {
    /// Reads the file and lets the environment override it.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid TOML, or has invalid values.
    pub fn load(
        path: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Self::checked(file, &environment).map_err(ConfigError::Invalid)
    }

    /// The settings that only a restart or a hot restart changes, each with its value as text. A
    /// reload compares the texts.
    pub(crate) fn fixed(&self) -> [(&'static str, String); FIXED] {
        let Self { name, server, control, seed, log_filter, traces, .. } = self;
        let token = control.token.as_ref().map(|token| xxh3_64(token.expose_secret().as_bytes()));
        [
            ("INSTANCE_ID", name.to_string()),
            ("DEPLOYMENT", format!("{:?}", self.deployment)),
            ("LOG_LEVEL", log_filter.clone()),
            ("OTEL_EXPORTER_OTLP_*", format!("{traces:?}")),
            ("CONTROL_TOKEN", format!("{token:?}")),
            ("[server] listen", server.listen.to_string()),
            ("[server] threads", server.threads.to_string()),
            ("[server] state_file", format!("{:?}", server.state_file)),
            ("[server] upgrade_sock", format!("{:?}", server.upgrade_sock)),
            ("[server] announce_s", format!("{:?}", server.pre_stop_delay)),
            ("[server] grace_period_s", format!("{:?}", server.grace_period)),
            (
                "[control]",
                format!(
                    "{} {:?} {:?} {} {:?} {:?} {:?}",
                    control.listen,
                    control.metrics_listen,
                    control.allowed_hosts,
                    control.event_sample_per_s,
                    control.agent.as_ref().map(|agent| agent.addr),
                    control.driver.as_ref().map(|driver| &driver.authority),
                    control.peers
                ),
            ),
            ("[clients] max_connections", format!("{:?}", self.max_connections)),
            ("[affinity] seed", format!("{seed:?}")),
            (
                "[pools] protocol",
                format!("{:?} {:?}", self.stateless.protocol, self.stateful.protocol),
            ),
            (
                "[pools] tls_name, TLS_CA_FILE",
                format!("{:?} {:?}", self.stateless.tls, self.stateful.tls),
            ),
            (
                "[server] tls_cert, tls_key",
                format!("{:?}", server.tls.as_ref().map(ServerCertificate::paths)),
            ),
        ]
    }

    /// Identifies the configuration: 16 hex digits. It leaves out secrets, and what differs between
    /// gateways: name, addresses, files, log and traces.
    pub(crate) fn fingerprint(&self) -> String {
        let Self {
            traffic,
            seed,
            health,
            discovery,
            tokens,
            stateless,
            stateful,
            server,
            control,
            ..
        } = self;
        let waits = (server.pre_stop_delay, server.grace_period);
        let shown = (control.event_sample_per_s, &control.allowed_hosts);
        let shared = format!(
            "{:?}",
            (traffic, seed, health, discovery, tokens, stateless, stateful, waits, shown)
        );
        format!("{:016x}", xxh3_64(shared.as_bytes()))
    }

    /// How this gateway reaches instances, and identifies itself to them.
    pub(crate) fn identity(&self) -> Identity {
        let tls = PoolName::ALL.into_iter();
        Identity {
            instance_token: self.instance_token.clone(),
            deployment: self.deployment.clone(),
            tls: tls.filter_map(|pool| Some((pool, self.pool(pool).tls.clone()?))).collect(),
        }
    }

    /// The configuration of one pool.
    pub fn pool(&self, name: PoolName) -> &PoolConfig {
        match name {
            PoolName::Stateless => &self.stateless,
            PoolName::Stateful => &self.stateful,
        }
    }

    fn checked(file: File, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut check = Check::new(environment);
        let (server, trusted_proxies, routing_headers, engine) = file.server.check(&mut check);
        let control = file.control.check(&mut check, &server);
        let cors = file.cors.check(&mut check);
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
        let trust = check.trust();
        let (stateless, stateful) = file.pools.check(&mut check, lab, &trust);
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
                engine,
                cors,
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
            trust,
            stateless,
            stateful,
        })
    }
}

#[cfg(test)]
mod tests;
