//! `[outlier_ejection]`: when an instance that fails requests is ejected.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::outlier::Policy;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    consecutive_failures: u32,
    base_ejection_ms: u64,
    max_ejection_ms: u64,
    max_percent: u32,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection_ms: 30_000,
            max_ejection_ms: 300_000,
            max_percent: 50,
        }
    }
}

impl Section {
    /// The policy; `None`: off.
    pub(super) fn check(self, check: &mut Check<'_>) -> Option<Policy> {
        let Self { consecutive_failures, base_ejection_ms, max_ejection_ms, max_percent } = self;
        check.require(
            base_ejection_ms > 0,
            "[outlier_ejection] base_ejection_ms",
            "must be at least 1",
        );
        check.require(
            max_ejection_ms >= base_ejection_ms,
            "[outlier_ejection] max_ejection_ms",
            format_args!("must be at least base_ejection_ms ({base_ejection_ms})"),
        );
        check.require(
            (1..=100).contains(&max_percent),
            "[outlier_ejection] max_percent",
            "must be 1 to 100",
        );
        (consecutive_failures > 0).then_some(Policy {
            consecutive_failures,
            base: Duration::from_millis(base_ejection_ms),
            max: Duration::from_millis(max_ejection_ms),
            max_percent,
        })
    }
}
