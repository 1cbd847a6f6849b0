//! Outlier ejection: an instance that fails requests is ejected for a time, even if its health
//! checks pass.
//!
//! The data path counts consecutive failures and reports suspects; [`crate::health_check::ejector`]
//! decides.

use std::time::Duration;

use http::StatusCode;

/// When and for how long an instance is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Consecutive failures that eject it; at least 1.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub base: Duration,
    /// The longest ejection.
    pub max: Duration,
    /// Maximum share of a pool that may be out, for any reason, in per cent. The last instance is
    /// never ejected.
    pub max_percent: u32,
}

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A server error.
    Errors,
    /// A timeout.
    Timeouts,
    /// The connection failed or broke.
    Connections,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Timeouts, Self::Connections];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Timeouts => "timeouts",
            Self::Connections => "connections",
        }
    }

    /// The text in the control API.
    pub fn describe(self, failures: u32) -> String {
        match self {
            Self::Errors => format!("{failures} consecutive server errors"),
            Self::Timeouts => format!("{failures} consecutive timeouts"),
            Self::Connections => format!("{failures} consecutive connection failures"),
        }
    }
}

/// What a response indicates about its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamOutcome {
    /// The instance works.
    Success,
    /// The instance failed.
    Failure,
    /// A dependency shared by all instances failed.
    Neutral,
}

/// Classifies a response. The services send 503 with `Retry-After` when Redis or the database is
/// unavailable, which affects all instances.
pub fn upstream_outcome(status: StatusCode, has_retry_after: bool) -> UpstreamOutcome {
    match status {
        StatusCode::SERVICE_UNAVAILABLE if has_retry_after => UpstreamOutcome::Neutral,
        StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UpstreamOutcome::Failure,
        _ => UpstreamOutcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_shared_dependencies_are_neutral() {
        let outcome = |status: u16, has_retry_after| {
            upstream_outcome(StatusCode::from_u16(status).expect("a status"), has_retry_after)
        };
        assert_eq!(outcome(503, true), UpstreamOutcome::Neutral);
        for status in [500, 502, 503, 504] {
            assert_eq!(outcome(status, false), UpstreamOutcome::Failure, "{status}");
        }
        for status in [200, 304, 404, 429, 501, 505] {
            assert_eq!(outcome(status, false), UpstreamOutcome::Success, "{status}");
        }
    }
}
