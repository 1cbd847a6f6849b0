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

use std::path::{Path, PathBuf};

use proto_contracts::{DeploymentName, InstanceName, PoolName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_kit::telemetry::TraceConfig;
use service_kit::tokens::TokenSettings;
use xxhash_rust::xxh3::xxh3_64;

use crate::rendezvous::Seed;
use crate::resilience::{outlier, rate_limit as rate, retry_budget};

pub use check::Problems;
pub use clients::ClientLimits;
pub use control::Control;
pub use discovery::Discovery;
pub use health::{HealthChecks, Thresholds};
pub use identity::Identity;
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
mod tests;
