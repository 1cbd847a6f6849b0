//! `[server]`: listener, trusted proxies, hot restart and shutdown.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use service_kit::tls::ServerCertificate;

use crate::config::check::{Check, canonical};

/// The data plane's process settings.
#[derive(Debug)]
pub struct Server {
    /// Address of the data plane.
    pub listen: SocketAddr,
    /// The listener's certificate; `None`: it has no TLS.
    pub tls: Option<ServerCertificate>,
    /// Worker threads.
    pub threads: usize,
    /// File that saves changes of the control API over restarts.
    pub state_file: Option<PathBuf>,
    /// Socket for hot restart; `None`: off.
    pub upgrade_sock: Option<PathBuf>,
    /// Pre-stop delay: how long readiness fails after SIGTERM before the listener closes, so that
    /// load balancers switch to other gateways.
    pub pre_stop_delay: Duration,
    /// How long requests in flight, streams included, may continue after SIGTERM or an upgrade.
    pub grace_period: Duration,
}

/// Peers whose `X-Forwarded-*` headers are trusted.
#[derive(Clone, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether this peer is trusted.
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&peer))
    }
}

/// Whether responses have the routing headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingHeaders {
    /// Responses have `X-Served-By`, `X-Affinity` and `Server-Timing`.
    Exposed,
    /// They do not; access log and metrics still have the data.
    Hidden,
}

/// What exchanges requests with instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The plain exchange; Pingora for upgrades, `Expect` and HTTP/2 to instances.
    Plain,
    /// Pingora's proxy, for all requests.
    Pingora,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    listen: SocketAddr,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    threads: usize,
    exchange: Engine,
    trusted_proxies: Vec<IpNet>,
    expose_routing: bool,
    state_file: Option<PathBuf>,
    upgrade_sock: Option<PathBuf>,
    announce_s: u64,
    grace_period_s: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8000).into(),
            tls_cert: None,
            tls_key: None,
            threads: 0,
            exchange: Engine::Plain,
            trusted_proxies: vec![
                IpNet::new_assert([127, 0, 0, 0].into(), 8),
                IpNet::new_assert([0, 0, 0, 0, 0, 0, 0, 1].into(), 128),
            ],
            expose_routing: true,
            state_file: None,
            upgrade_sock: None,
            announce_s: 5,
            grace_period_s: 30,
        }
    }
}

impl Section {
    pub(super) fn check(
        self,
        check: &mut Check<'_>,
    ) -> (Server, TrustedProxies, RoutingHeaders, Engine) {
        let tls_cert = check.variable("GATEWAY_TLS_CERT").map(PathBuf::from).or(self.tls_cert);
        let tls_key = check.variable("GATEWAY_TLS_KEY").map(PathBuf::from).or(self.tls_key);
        let server = Server {
            tls: certificate(check, tls_cert, tls_key),
            listen: check.address("GATEWAY_LISTEN").unwrap_or(self.listen),
            threads: match self.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            },
            state_file: check.variable("GATEWAY_STATE_FILE").map(PathBuf::from).or(self.state_file),
            upgrade_sock: check
                .variable("GATEWAY_UPGRADE_SOCK")
                .map(PathBuf::from)
                .or(self.upgrade_sock),
            pre_stop_delay: Duration::from_secs(self.announce_s),
            grace_period: Duration::from_secs(self.grace_period_s),
        };
        let routing_headers =
            if self.expose_routing { RoutingHeaders::Exposed } else { RoutingHeaders::Hidden };
        let trusted_proxies =
            check.networks("GATEWAY_TRUSTED_PROXIES").unwrap_or(self.trusted_proxies);
        let trusted_proxies = TrustedProxies(trusted_proxies.into_iter().map(canonical).collect());
        (server, trusted_proxies, routing_headers, self.exchange)
    }
}

/// The listener's certificate, if both files are named.
fn certificate(
    check: &mut Check<'_>,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<ServerCertificate> {
    const SETTING: &str = "[server] tls_cert";
    check.require(
        chain.is_some() == key.is_some(),
        SETTING,
        "and tls_key belong together: set both, or neither",
    );
    let read = ServerCertificate::read(&chain?, &key?);
    let fault = read.as_ref().err().map(ToString::to_string);
    check.require(fault.is_none(), SETTING, format_args!("{}", fault.unwrap_or_default()));
    read.ok()
}
