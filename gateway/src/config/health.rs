//! `[health]`: health checks.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;

/// The health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// Time between checks.
    pub interval: Duration,
    /// Timeout of a check.
    pub timeout: Duration,
    /// Consecutive results that change an instance's health.
    pub thresholds: Thresholds,
    /// Whether instances without service and protocol headers, of an old version, are rejected.
    pub require_identity: bool,
}

/// Consecutive results that change an instance's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures until a healthy instance is unhealthy; at least 1.
    pub fails: u32,
    /// Successes until an unhealthy instance is healthy; at least 1.
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
    pub(super) fn check(self, check: &mut Check<'_>) -> HealthCheckConfig {
        let Self { interval_ms, timeout_ms, fails, passes, require_identity } = self;
        check.require(interval_ms > 0, "[health] interval_ms", "must be at least 1");
        check.require(
            (1..=interval_ms).contains(&timeout_ms),
            "[health] timeout_ms",
            format_args!("must be 1 to interval_ms ({interval_ms})"),
        );
        check.require(fails > 0, "[health] fails", "must be at least 1");
        check.require(passes > 0, "[health] passes", "must be at least 1");
        HealthCheckConfig {
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            thresholds: Thresholds { fails, passes },
            require_identity,
        }
    }
}
