//! `[overload]`: limits of requests in flight per instance and pool.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::overload::Policy;

/// Limits of requests in flight.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Maximum requests in flight per instance, streams not counted.
    pub max_in_flight: u64,
    /// The latency-based limit of a pool; `None`: off.
    pub shedding: Option<Policy>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_in_flight: u64,
    latency_target_ms: u64,
    min_in_flight: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self { max_in_flight: 1_024, latency_target_ms: 500, min_in_flight: 64 }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Overload {
        let Self { max_in_flight, latency_target_ms, min_in_flight } = self;
        check.require(
            min_in_flight > 0 && (max_in_flight == 0 || min_in_flight <= max_in_flight),
            "[overload] min_in_flight",
            format_args!("must be 1 to max_in_flight ({max_in_flight})"),
        );
        let latency_target = Duration::from_millis(latency_target_ms);
        Overload {
            max_in_flight: if max_in_flight == 0 { u64::MAX } else { max_in_flight },
            shedding: (latency_target_ms > 0).then_some(Policy { latency_target, min_in_flight }),
        }
    }
}
