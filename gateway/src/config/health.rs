//! `[health]`: how instances are checked.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;

/// The health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthChecks {
    /// Time from one check to the next.
    pub interval: Duration,
    /// How long an instance may take to answer.
    pub timeout: Duration,
    /// How many results in a row change the opinion of an instance.
    pub thresholds: Thresholds,
    /// Whether an instance that names no service and no protocol is refused: one of a version older than these headers.
    pub require_identity: bool,
}

/// How many results in a row change the opinion of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row until a healthy instance is unhealthy; at least 1.
    pub fails: u32,
    /// Successes in a row until an unhealthy instance is healthy again; at least 1.
    pub passes: u32,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    interval_ms: u64,
    timeout_ms: u64,
    fails: u32,
    passes: u32,
    require_identity: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self { interval_ms: 5_000, timeout_ms: 1_000, fails: 3, passes: 2, require_identity: false }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> HealthChecks {
        let Self { interval_ms, timeout_ms, fails, passes, require_identity } = self;
        check.unless(interval_ms > 0, "[health] interval_ms", "must be at least 1");
        check.unless(
            (1..=interval_ms).contains(&timeout_ms),
            "[health] timeout_ms",
            format_args!("must be 1 to interval_ms ({interval_ms})"),
        );
        check.unless(fails > 0, "[health] fails", "must be at least 1");
        check.unless(passes > 0, "[health] passes", "must be at least 1");
        HealthChecks {
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            thresholds: Thresholds { fails, passes },
            require_identity,
        }
    }
}
