//! `[clients]`: how much one client, and all together, may hold at once.

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::holdings;

/// How much one client may hold at once. Who is exempt from `[rate_limit]` may hold any number.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Connections from one peer address, which is not a trusted proxy's.
    pub connections: u32,
    /// Requests in flight, those whose body is still arriving among them; streams are not.
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
        Self { max_connections: 0, max_connections_per_address: 500, max_requests: 50, max_streams: 100 }
    }
}

impl Section {
    /// What a client may hold, and how many connections all may have together; `None` for as many as the limit of
    /// descriptors allows.
    pub(super) fn check(self, check: &mut Check<'_>) -> (ClientLimits, Option<usize>) {
        let mut bound = |setting: &str, value: u32| {
            check.unless(
                value <= holdings::MOST,
                setting,
                format_args!("must be 0 (any number) to {}", holdings::MOST),
            );
            if value == 0 { u32::MAX } else { value }
        };
        let limits = ClientLimits {
            connections: bound("[clients] max_connections_per_address", self.max_connections_per_address),
            requests: bound("[clients] max_requests", self.max_requests),
            streams: bound("[clients] max_streams", self.max_streams),
        };
        (limits, (self.max_connections > 0).then_some(self.max_connections))
    }
}
