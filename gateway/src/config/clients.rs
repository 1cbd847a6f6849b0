//! `[clients]`: concurrency limits per client and in total.

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::holdings;

/// Concurrency limits of one client. Clients that are exempt from `[rate_limit]` have none.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Connections per peer address, trusted proxies not counted.
    pub connections: u32,
    /// Requests in flight, including those whose body is still arriving; streams not counted.
    pub requests: u32,
    /// Streams.
    pub streams: u32,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_connections: usize,
    max_connections_per_address: u32,
    max_requests: u32,
    max_streams: u32,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            max_connections: 0,
            max_connections_per_address: 500,
            max_requests: 50,
            max_streams: 100,
        }
    }
}

impl Section {
    /// The limits per client, and the limit of all connections; `None`: derived from the limit of
    /// file descriptors.
    pub(super) fn check(self, check: &mut Check<'_>) -> (ClientLimits, Option<usize>) {
        let mut bound = |setting: &str, value: u32| {
            check.require(
                value <= holdings::MOST,
                setting,
                format_args!("must be 0 (unlimited) to {}", holdings::MOST),
            );
            if value == 0 { u32::MAX } else { value }
        };
        let limits = ClientLimits {
            connections: bound(
                "[clients] max_connections_per_address",
                self.max_connections_per_address,
            ),
            requests: bound("[clients] max_requests", self.max_requests),
            streams: bound("[clients] max_streams", self.max_streams),
        };
        (limits, (self.max_connections > 0).then_some(self.max_connections))
    }
}
