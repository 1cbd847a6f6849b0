//! `[retries]`: when a failed request is retried.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::retry_budget::{MAX_ATTEMPTS, Policy};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    budget_percent: u32,
    min_per_second: u32,
    max_attempts: u32,
    attempt_timeout_ms: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self { budget_percent: 20, min_per_second: 3, max_attempts: 4, attempt_timeout_ms: 2_000 }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Policy {
        let Self { budget_percent, min_per_second, max_attempts, attempt_timeout_ms } = self;
        check.require(budget_percent <= 100, "[retries] budget_percent", "must be 0 to 100");
        check.require(
            (1..=MAX_ATTEMPTS).contains(&max_attempts),
            "[retries] max_attempts",
            format_args!("must be 1 (no retry) to {MAX_ATTEMPTS}"),
        );
        let attempt_timeout =
            (attempt_timeout_ms > 0).then(|| Duration::from_millis(attempt_timeout_ms));
        Policy { budget_percent, min_per_second, max_attempts, attempt_timeout }
    }
}
