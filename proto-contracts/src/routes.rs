//! All paths of the API: the services mount these templates, and the gateway resolves paths against
//! them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::AffinityKey;
use crate::path;
use crate::session_id::SessionId;

/// One of the gateway's two pools.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PoolName {
    /// Instances of stateless-svc.
    Stateless,
    /// Instances of stateful-svc.
    Stateful,
}

impl PoolName {
    /// Both pools.
    pub const ALL: [Self; 2] = [Self::Stateless, Self::Stateful];

    /// The name in paths, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Stateful => "stateful",
        }
    }

    /// The service whose instances it holds.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Stateless => "stateless-svc",
            Self::Stateful => "stateful-svc",
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pools are 'stateless' and 'stateful'")]
pub struct UnknownPool;

impl FromStr for PoolName {
    type Err = UnknownPool;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|pool| pool.as_str() == text).ok_or(UnknownPool)
    }
}

/// An endpoint of the API. Its templates are the bounded set of route labels in metrics and access
/// logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Service, version and instance.
    Info,
    /// Arithmetic.
    Calculate,
    /// Random numbers.
    Random,
    /// The catalogue, paged.
    Products,
    /// One product.
    Product,
    /// Create a session.
    Sessions,
    /// Read, patch or delete a session.
    Session,
    /// Post a message with the session's id in the body.
    Conversations,
    /// Post a message with the session's id in the path.
    Messages,
    /// Read the messages of a session, paged.
    History,
    /// Receive a session's messages: server-sent events.
    Events,
    /// Receive and post messages: a WebSocket.
    Live,
    /// Get a ticket, with which a browser opens one of these two.
    Tickets,
    /// A path under a pool's prefix that matches no template; the service responds with 404.
    Unknown,
}

/// The canonical and the legacy template of an endpoint. `{…}` is one path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Templates {
    /// Under `/api/v1`.
    pub canonical: &'static str,
    /// The deprecated alias (Phase 1), if there is one.
    pub legacy: Option<&'static str>,
}

impl Endpoint {
    /// Every endpoint that has a path.
    pub const ALL: [Self; 13] = [
        Self::Info,
        Self::Calculate,
        Self::Random,
        Self::Products,
        Self::Product,
        Self::Sessions,
        Self::Session,
        Self::Conversations,
        Self::Messages,
        Self::History,
        Self::Events,
        Self::Live,
        Self::Tickets,
    ];

    /// The endpoint's paths.
    pub const fn templates(self) -> Templates {
        let (canonical, legacy) = match self {
            Self::Info => ("/api/v1/stateless/info", Some("/api/stateless/info")),
            Self::Calculate => ("/api/v1/stateless/calculate", Some("/api/stateless/calculate")),
            Self::Random => ("/api/v1/stateless/random", Some("/api/stateless/random")),
            Self::Products => ("/api/v1/stateless/products", None),
            Self::Product => ("/api/v1/stateless/products/{product_id}", None),
            Self::Sessions => ("/api/v1/stateful/sessions", Some("/api/stateful/session")),
            Self::Session => (
                "/api/v1/stateful/sessions/{session_id}",
                Some("/api/stateful/session/{session_id}"),
            ),
            Self::Conversations => {
                ("/api/v1/stateful/conversations", Some("/api/stateful/conversation"))
            }
            Self::Messages => ("/api/v1/stateful/sessions/{session_id}/messages", None),
            Self::History => (
                "/api/v1/stateful/sessions/{session_id}/history",
                Some("/api/stateful/history/{session_id}"),
            ),
            Self::Events => ("/api/v1/stateful/sessions/{session_id}/events", None),
            Self::Live => ("/api/v1/stateful/sessions/{session_id}/live", None),
            Self::Tickets => ("/api/v1/stateful/sessions/{session_id}/tickets", None),
            Self::Unknown => ("unmatched", None),
        };
        Templates { canonical, legacy }
    }

    /// Whether its responses are endless.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Events | Self::Live)
    }
}

/// A resolved path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The pool that serves it.
    pub pool: PoolName,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether it is a legacy path.
    pub is_legacy: bool,
    /// The affinity key of a well-formed session id in the path.
    pub key: Option<AffinityKey>,
}

impl Resolved {
    /// The template, for logs and metrics: it has no session id.
    pub fn template(&self) -> &'static str {
        let templates = self.endpoint.templates();
        if self.is_legacy {
            templates.legacy.unwrap_or(templates.canonical)
        } else {
            templates.canonical
        }
    }

    /// The decoded value of the template's `{…}` in a canonical path; empty when the template has
    /// none.
    pub fn parameter<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let mut segments = self.template().split('/').zip(path.split('/'));
        segments
            .find(|(template, _)| template.starts_with('{'))
            .map_or("".into(), |(_, segment)| path::decoded(segment))
    }
}

/// Resolves a [canonical](path::canonical) path; `None` when no pool serves it. Does not allocate.
pub fn resolve(path: &str) -> Option<Resolved> {
    let rest = path.strip_prefix("/api/")?;
    let (is_legacy, rest) = rest.strip_prefix("v1/").map_or((true, rest), |rest| (false, rest));
    let (pool, rest) = split(rest);
    let pool = pool.parse().ok()?;
    let (first, rest) = split(rest?);
    let (second, rest) = rest.map_or((None, None), |rest| {
        let (second, rest) = split(rest);
        (Some(second), rest)
    });
    let (endpoint, id) = match (pool, is_legacy) {
        // A parameter is never empty.
        _ if second == Some("") => (Endpoint::Unknown, None),
        (PoolName::Stateless, false) => (stateless(first, second, rest), None),
        (PoolName::Stateless, true) => (stateless_legacy(first, second), None),
        (PoolName::Stateful, false) => stateful(first, second, rest),
        (PoolName::Stateful, true) => stateful_legacy(first, second, rest),
    };
    let key = id.and_then(|id| SessionId::affinity_key_of(id.as_bytes()));
    Some(Resolved { pool, endpoint, is_legacy, key })
}

/// The first segment and what follows its slash.
fn split(path: &str) -> (&str, Option<&str>) {
    // Segments are short: `split_once` would spend more time to begin its search.
    match path.bytes().position(|byte| byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

fn stateless(first: &str, second: Option<&str>, rest: Option<&str>) -> Endpoint {
    match (first, second, rest) {
        ("products", Some(_), None) => Endpoint::Product,
        ("products", None, None) => Endpoint::Products,
        (_, None, None) => stateless_legacy(first, second),
        _ => Endpoint::Unknown,
    }
}

fn stateless_legacy(first: &str, second: Option<&str>) -> Endpoint {
    match (first, second) {
        ("info", None) => Endpoint::Info,
        ("calculate", None) => Endpoint::Calculate,
        ("random", None) => Endpoint::Random,
        _ => Endpoint::Unknown,
    }
}

fn stateful<'a>(
    first: &str,
    id: Option<&'a str>,
    rest: Option<&str>,
) -> (Endpoint, Option<&'a str>) {
    let endpoint = match (first, id, rest) {
        ("sessions", None, None) => Endpoint::Sessions,
        ("sessions", Some(_), None) => Endpoint::Session,
        ("sessions", Some(_), Some("messages")) => Endpoint::Messages,
        ("sessions", Some(_), Some("history")) => Endpoint::History,
        ("sessions", Some(_), Some("events")) => Endpoint::Events,
        ("sessions", Some(_), Some("live")) => Endpoint::Live,
        ("sessions", Some(_), Some("tickets")) => Endpoint::Tickets,
        ("conversations", None, None) => Endpoint::Conversations,
        _ => Endpoint::Unknown,
    };
    (endpoint, id)
}

fn stateful_legacy<'a>(
    first: &str,
    id: Option<&'a str>,
    rest: Option<&str>,
) -> (Endpoint, Option<&'a str>) {
    let endpoint = match (first, id, rest) {
        ("session", None, None) => Endpoint::Sessions,
        ("session", Some(_), None) => Endpoint::Session,
        ("history", Some(_), None) => Endpoint::History,
        ("conversation", None, None) => Endpoint::Conversations,
        _ => Endpoint::Unknown,
    };
    (endpoint, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0badcafe-00112233445566778899aabbccddeeff";

    #[test]
    fn every_template_resolves_to_its_endpoint() {
        for endpoint in Endpoint::ALL {
            let templates = endpoint.templates();
            for (template, is_legacy) in
                [(Some(templates.canonical), false), (templates.legacy, true)]
            {
                let Some(template) = template else { continue };
                let path = template.replace("{session_id}", ID).replace("{product_id}", "p001");
                let resolved = resolve(&path).unwrap_or_else(|| panic!("{path} resolves"));
                assert_eq!(
                    (resolved.endpoint, resolved.is_legacy),
                    (endpoint, is_legacy),
                    "{path}"
                );
                assert_eq!(resolved.template(), template);
                let parameter = if template.contains("{product_id}") { "p001" } else { ID };
                assert_eq!(
                    resolved.parameter(&path),
                    if template.contains('{') { parameter } else { "" },
                    "{path}"
                );
                assert_eq!(resolved.key.is_some(), template.contains("{session_id}"), "{path}");
                assert!(path.contains(resolved.pool.as_str()));
            }
        }
    }

    #[test]
    fn unmatched_paths_of_a_pool_are_unknown_and_other_paths_are_none() {
        for path in [
            "/api/v1/stateless/",
            "/api/v1/stateless/infos",
            "/api/v1/stateless/info/",
            "/api/v1/stateful/sessions/x/y",
            "/api/v1/stateful/sessions/",
            "/api/v1/stateful/sessions//messages",
            "/api/stateless/products",
            "/api/stateful/sessions",
        ] {
            assert_eq!(resolve(path).map(|r| r.endpoint), Some(Endpoint::Unknown), "{path}");
        }
        for path in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/stateless",
            "/api/v2/stateless/info",
            "/health",
            "//api/v1/stateless/info",
        ] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }

    #[test]
    fn a_malformed_session_id_gives_no_key() {
        let resolved = resolve("/api/v1/stateful/sessions/not-an-id/history").expect("resolves");
        assert_eq!((resolved.endpoint, resolved.key), (Endpoint::History, None));
    }
}
