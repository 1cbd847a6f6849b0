//! `[discovery]`: discovery of instances by DNS.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;

/// How DNS is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Time between lookups.
    pub interval: Duration,
    /// Timeout of a lookup.
    pub timeout: Duration,
    /// The resolver; `None`: the system's (`/etc/resolv.conf`).
    pub resolver: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    interval_ms: u64,
    timeout_ms: u64,
    resolver: Option<SocketAddr>,
}

impl Default for Section {
    fn default() -> Self {
        Self { interval_ms: 5_000, timeout_ms: 2_000, resolver: None }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> DiscoveryConfig {
        let Self { interval_ms, timeout_ms, resolver } = self;
        check.require(interval_ms > 0, "[discovery] interval_ms", "must be at least 1");
        check.require(
            (1..=interval_ms).contains(&timeout_ms),
            "[discovery] timeout_ms",
            format_args!("must be 1 to interval_ms ({interval_ms})"),
        );
        DiscoveryConfig {
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            resolver,
        }
    }
}
