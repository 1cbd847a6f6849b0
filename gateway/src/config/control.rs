//! `[control]`: the control plane.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use proto_contracts::Authority;
use qrcode::QrCode;
use secrecy::SecretString;
use serde::Deserialize;

use crate::config::Server;
use crate::config::check::Check;
use crate::config::pools::ServiceName;

/// More would burden the data path.
const MAX_SAMPLE_PER_S: u32 = 10_000;

/// The control plane.
#[derive(Debug)]
pub struct Control {
    /// Address of the control plane. Clients must not reach it.
    pub listen: SocketAddr,
    /// Accepted `Host` names, against DNS rebinding from a browser.
    pub allowed_hosts: Vec<String>,
    /// Sampled requests per pool and second in the event stream.
    pub event_sample_per_s: u32,
    /// Address that serves only health and metrics, for networks that must not reach the control
    /// plane; `None`: only the control plane serves them.
    pub metrics_listen: Option<SocketAddr>,
    /// The room of a class; `None`: no class.
    pub class: Option<Room>,
    /// Token for changes; without one the API is read-only.
    pub token: Option<SecretString>,
    /// The local stack's agent; `None`: the gateway starts and stops nothing.
    pub agent: Option<Agent>,
    /// A traffic driver; `None`: there is no traffic to start.
    pub driver: Option<Driver>,
    /// The control planes of the deployment's other gateways, which get each change, too.
    pub peers: Vec<PeerName>,
}

/// A traffic driver: `loadtest drive`.
#[derive(Debug)]
pub struct Driver {
    /// Its host and port. The token is sent in clear, so it is on loopback or in a network of the
    /// deployment's own.
    pub authority: String,
    /// Its token, which never leaves the gateway but for the driver.
    pub token: SecretString,
}

/// Where the control plane of another gateway is, or those of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// At this address.
    Addr(SocketAddr),
    /// At each address of this DNS name. The gateway's own may be among them.
    Service(ServiceName),
}

/// The text is not a [`PeerName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not an address or a DNS name with the port of a control plane")]
pub struct InvalidPeerName;

impl FromStr for PeerName {
    type Err = InvalidPeerName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SocketAddr>() {
            Ok(addr) if addr.port() == 0 || addr.ip().is_unspecified() => Err(InvalidPeerName),
            Ok(addr) => Ok(Self::Addr(addr)),
            Err(_) => text.parse().map(Self::Service).map_err(|_| InvalidPeerName),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Service(name) => name.fmt(f),
        }
    }
}

/// The agent of a local stack.
#[derive(Debug)]
pub struct Agent {
    /// Its address, a loopback one: the token is sent in clear.
    pub addr: SocketAddr,
    /// Its token, which never leaves the gateway but for the agent.
    pub token: SecretString,
}

/// The room of a class, by `CLASS_URL`.
#[derive(Clone, Debug)]
pub struct Room {
    /// The address of the page for phones.
    pub page: String,
    /// The code that opens the room.
    pub code: SecretString,
    /// Page and code as a QR code: `1` for a dark module and `0` for a light one, in rows.
    pub qr: SecretString,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    listen: SocketAddr,
    metrics_listen: Option<SocketAddr>,
    allowed_hosts: Vec<String>,
    event_sample_per_s: u32,
    agent: Option<SocketAddr>,
    driver: Option<String>,
    peers: Vec<String>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8001).into(),
            metrics_listen: None,
            allowed_hosts: ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).into(),
            event_sample_per_s: 50,
            agent: None,
            driver: None,
            peers: Vec::new(),
        }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>, server: &Server) -> Control {
        let listen = check.address("GATEWAY_CONTROL_LISTEN").unwrap_or(self.listen);
        check.require(
            listen != server.listen || listen.port() == 0,
            "[control] listen",
            "must differ from [server] listen: clients must not reach the control plane",
        );
        check.require(
            !self.allowed_hosts.is_empty(),
            "[control] allowed_hosts",
            "must name at least one host",
        );
        for host in &self.allowed_hosts {
            check.require(
                Authority::parse(host.as_bytes())
                    .is_some_and(|parsed| parsed.has_host(host.as_bytes())),
                "[control] allowed_hosts",
                format_args!(
                    "has {host:?}; write a name or an address without a port, such as \"[::1]\""
                ),
            );
        }
        let metrics_listen = check.address("GATEWAY_METRICS_LISTEN").or(self.metrics_listen);
        check.require(
            metrics_listen.is_none_or(|metrics| {
                metrics.port() == 0 || (metrics != listen && metrics != server.listen)
            }),
            "[control] metrics_listen",
            "must differ from [control] listen and from [server] listen",
        );
        let token = check.token("CONTROL_TOKEN");
        let class = check.variable("CLASS_URL").and_then(|url| room(check, &url));
        let agent = check.address("GATEWAY_AGENT").or(self.agent);
        let agent_token = check.token("AGENT_TOKEN");
        check.require(
            agent.is_none_or(|addr| addr.ip().is_loopback()),
            "[control] agent",
            "must be a loopback address: the agent's token is sent in clear",
        );
        check.require(
            agent.is_none() || agent_token.is_some(),
            "[control] agent",
            "needs AGENT_TOKEN, the content of the stack's agent.token",
        );
        let driver = check.variable("GATEWAY_DRIVER").or(self.driver);
        let driver_token = check.token("DRIVER_TOKEN");
        let has_port = |authority: &String| {
            Authority::parse(authority.as_bytes()).is_some_and(|parsed| parsed.port().is_some())
        };
        check.require(
            driver.as_ref().is_none_or(has_port),
            "[control] driver",
            "must be a host and a port, such as 127.0.0.1:8003",
        );
        check.require(
            driver.is_none() || driver_token.is_some(),
            "[control] driver",
            "needs DRIVER_TOKEN, the driver's own",
        );
        let peers = peers(check, &self.peers);
        check.require(
            self.event_sample_per_s <= MAX_SAMPLE_PER_S,
            "[control] event_sample_per_s",
            format_args!("must be at most {MAX_SAMPLE_PER_S}; 0 samples none"),
        );
        Control {
            listen,
            metrics_listen,
            class,
            allowed_hosts: self.allowed_hosts,
            event_sample_per_s: self.event_sample_per_s,
            token,
            agent: agent.zip(agent_token).map(|(addr, token)| Agent { addr, token }),
            driver: driver.zip(driver_token).map(|(authority, token)| Driver { authority, token }),
            peers,
        }
    }
}

fn peers(check: &mut Check<'_>, in_file: &[String]) -> Vec<PeerName> {
    let from_environment = check.variable("GATEWAY_PEERS");
    let (setting, texts) = match &from_environment {
        Some(list) => {
            let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
            ("GATEWAY_PEERS", texts.collect())
        }
        None => ("[control] peers", in_file.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let read = texts.into_iter().filter_map(|text| {
        let peer = text.parse();
        check.require(
            peer.is_ok(),
            setting,
            format_args!(
                "has {text:?}; write the address of another gateway's control plane, such as \
                 \"10.0.0.2:8001\", or a DNS name with a port"
            ),
        );
        peer.ok()
    });
    read.collect()
}

/// The page and the code of `https://<host>:8444/class#<code>`.
fn room(check: &mut Check<'_>, url: &str) -> Option<Room> {
    let parts = url.split_once('#').filter(|(page, code)| !page.is_empty() && !code.is_empty());
    check.require(
        parts.is_some(),
        "CLASS_URL",
        "must be the address of the page with the room's code, as https://HOST:8444/class#CODE",
    );
    let (page, code) = parts?;
    let qr = QrCode::new(url);
    check.require(qr.is_ok(), "CLASS_URL", "must fit into a QR code: at most 2,331 bytes");
    let qr = qr.ok()?;
    let rows = qr.render::<char>().dark_color('1').light_color('0').quiet_zone(false).build();
    Some(Room { page: page.to_owned(), code: code.into(), qr: rows.into() })
}
