//! The proxies that are compared.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A proxy in one of the compared configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// The gateway, with HTTP/1.1 to its origins.
    Gateway,
    /// The gateway with Pingora's proxy for all requests, and HTTP/1.1 to its origins.
    GatewayPingora,
    /// The gateway, with HTTP/2 to its origins.
    GatewayH2,
    /// Another build of the gateway (`--other-gateway`), with HTTP/1.1 to its origins.
    #[value(skip)]
    OtherGateway,
    /// Another build of the gateway, with Pingora's proxy for all requests.
    #[value(skip)]
    OtherGatewayPingora,
    /// Another build of the gateway, with HTTP/2 to its origins.
    #[value(skip)]
    OtherGatewayH2,
    /// HAProxy, with HTTP/1.1 to its origins.
    Haproxy,
    /// HAProxy, with HTTP/2 to its origins.
    HaproxyH2,
    /// Nginx, with HTTP/1.1 to its origins.
    Nginx,
    /// Caddy, with HTTP/1.1 to its origins.
    Caddy,
    /// No proxy: one thread that passes bytes on and reads none of them, which is what TCP costs.
    Relay,
}

impl Contender {
    /// Those that are compared by default, if they are installed.
    pub(crate) const DEFAULT: [Self; 6] =
        [Self::Gateway, Self::GatewayPingora, Self::Haproxy, Self::Nginx, Self::Caddy, Self::Relay];

    /// The name in the report.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::GatewayPingora => "gateway, Pingora's proxy",
            Self::GatewayH2 => "gateway, h2 to the origins",
            Self::OtherGateway => "other gateway",
            Self::OtherGatewayPingora => "other gateway, Pingora's",
            Self::OtherGatewayH2 => "other gateway, h2",
            Self::Haproxy => "HAProxy",
            Self::HaproxyH2 => "HAProxy, h2 to the origins",
            Self::Nginx => "Nginx",
            Self::Caddy => "Caddy",
            Self::Relay => "relay of bytes",
        }
    }

    /// Its configuration's setting of the protocol to the origins.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::GatewayH2 | Self::OtherGatewayH2 => "protocol = \"h2c\"",
            Self::HaproxyH2 => "proto h2",
            _ => "",
        }
    }

    /// `[server] exchange` of the gateway.
    pub(crate) const fn exchange(self) -> &'static str {
        match self {
            Self::GatewayPingora | Self::OtherGatewayPingora => "pingora",
            _ => "plain",
        }
    }

    /// The installed program that it needs, besides the workspace's own.
    pub(crate) const fn installed_program(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::HaproxyH2 => Some("haproxy"),
            Self::Nginx => Some("nginx"),
            Self::Caddy => Some("caddy"),
            _ => None,
        }
    }

    /// Whether it is a gateway of Tandem.
    pub(crate) const fn is_gateway(self) -> bool {
        self.installed_program().is_none() && !self.is_relay()
    }

    /// Whether it only passes bytes on: its origins are not chosen by the request, no header is
    /// added, and it ends no TLS and writes no access log.
    pub(crate) const fn is_relay(self) -> bool {
        matches!(self, Self::Relay)
    }

    /// The same configuration for another build of the gateway.
    pub(crate) const fn by_other_build(self) -> Option<Self> {
        match self {
            Self::Gateway => Some(Self::OtherGateway),
            Self::GatewayPingora => Some(Self::OtherGatewayPingora),
            Self::GatewayH2 => Some(Self::OtherGatewayH2),
            _ => None,
        }
    }

    pub(crate) const fn is_other_build(self) -> bool {
        matches!(self, Self::OtherGateway | Self::OtherGatewayPingora | Self::OtherGatewayH2)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}
