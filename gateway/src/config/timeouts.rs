//! `[timeouts]`: how long each step of a request may take.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;

/// The longest that any may be set to, in milliseconds: an hour.
const MOST_MS: u64 = 60 * 60 * 1_000;

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// What clients are given.
    pub client: ClientTimeouts,
}

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// For the whole header of a request, from the connection's first moment or the header's first byte.
    pub header: Duration,
    /// For the first byte of a further request. Longer than the 60 s for which Nginx keeps its connections, so that the
    /// gateway never closes one that is about to be used.
    pub idle: Duration,
    /// For accepting a piece of an answer; by default Pingora would wait for ever, and hold what an instance has sent
    /// already.
    pub write: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    header_ms: u64,
    idle_ms: u64,
    client_write_ms: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self { header_ms: 10_000, idle_ms: 75_000, client_write_ms: 60_000 }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Timeouts {
        let mut checked = |setting: &str, ms: u64| {
            check.unless((1..=MOST_MS).contains(&ms), setting, format_args!("must be 1 to {MOST_MS}"));
            Duration::from_millis(ms)
        };
        Timeouts {
            client: ClientTimeouts {
                header: checked("[timeouts] header_ms", self.header_ms),
                idle: checked("[timeouts] idle_ms", self.idle_ms),
                write: checked("[timeouts] client_write_ms", self.client_write_ms),
            },
        }
    }
}
