//! What the compared proxies transfer, and by which way.

use clap::ValueEnum;
use serde::Serialize;

use super::contender::Contender;

/// Bytes of a large response.
pub(crate) const LARGE_RESPONSE: usize = 64 << 10;
/// Bytes of an upload: the gateway's default `max_body_bytes`.
pub(crate) const UPLOAD: usize = 1 << 20;

/// A kind of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Responses of some 150 bytes.
    Small,
    /// Small responses, from behind another Nginx, with trusted X-Forwarded-For and traceparent.
    BehindNginx,
    /// Responses of 64 KiB.
    Large,
    /// Uploads of 1 MiB.
    Upload,
    /// Small responses over TLS: the gateway behind Nginx, the other proxies alone.
    Tls,
}

/// How the load reaches a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    DirectTls,
    /// Through an Nginx in front of it.
    Edge,
    /// Through an Nginx in front of it, which ends TLS.
    EdgeTls,
}

impl Workload {
    /// The name in titles.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Small => "small responses",
            Self::BehindNginx => "small responses behind Nginx, X-Forwarded-For and traceparent",
            Self::Large => "responses of 64 KiB",
            Self::Upload => "uploads of 1 MiB",
            Self::Tls => "small responses over TLS, the gateway behind Nginx",
        }
    }

    /// Whether it runs with each of `--proxy-connections`, since its cost depends on their number.
    pub(crate) const fn is_scaled(self) -> bool {
        matches!(self, Self::Small | Self::BehindNginx)
    }

    /// Whether any proxy has an Nginx in front of it.
    pub(crate) const fn has_edge(self) -> bool {
        matches!(self, Self::BehindNginx | Self::Tls)
    }

    /// Whether this proxy can serve it.
    pub(crate) fn suits(self, contender: Contender) -> bool {
        !(contender.is_relay() && self == Self::Tls)
    }

    /// How the load reaches this proxy.
    pub(crate) const fn way(self, contender: Contender) -> Way {
        match self {
            Self::Small | Self::Large | Self::Upload => Way::Direct,
            Self::BehindNginx => Way::Edge,
            Self::Tls if contender.is_gateway() => Way::EdgeTls,
            Self::Tls => Way::DirectTls,
        }
    }
}
