//! `[overload]`: how many requests instances and pools may have in flight.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;
use crate::resilience::overload::Policy;

/// What instances and pools can take.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// The most requests that an instance may have in flight, streams not counted.
    pub max_in_flight: u64,
    /// How the limit of a pool follows its latency; `None` when there is none.
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
        check.unless(
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
