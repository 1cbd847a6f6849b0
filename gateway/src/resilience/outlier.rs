//! Outlier ejection: an instance that keeps failing requests is left out for a while, whatever its health checks say.
//!
//! The data path counts failures in a row and reports whom it suspects; the ejector of the health checks decides, behind
//! the pool's lock.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use pingora::http::ResponseHeader;

/// When an instance is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that eject it; at least 1.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub base: Duration,
    /// How long an ejection lasts at most.
    pub max: Duration,
    /// How many per cent of a pool may be out at once, whatever the reason. The last instance that is left never goes.
    pub max_percent: u32,
}

/// How an instance failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It answered with a fault of its own.
    Errors,
    /// It did not answer in time.
    Timeouts,
    /// It did not take the connection, or broke it.
    Connections,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Timeouts, Self::Connections];

    /// The reason as it stands in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Timeouts => "timeouts",
            Self::Connections => "connections",
        }
    }

    /// The reason as it stands in the control API.
    pub fn describe(self, failures: u32) -> String {
        match self {
            Self::Errors => format!("{failures} requests in a row were answered with a server error"),
            Self::Timeouts => format!("{failures} requests in a row were not answered in time"),
            Self::Connections => format!("{failures} connections in a row failed or broke"),
        }
    }
}

/// What an answer says of the instance that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Good,
    /// It failed.
    Bad,
    /// It says nothing: the fault lies with what all instances depend on.
    Unclear,
}

/// Reads an answer. A 503 with `Retry-After` is how the services tell that Redis or the database is away, which no other
/// instance could mend.
pub fn standing(response: &ResponseHeader) -> Standing {
    match response.status {
        StatusCode::SERVICE_UNAVAILABLE if response.headers.contains_key(RETRY_AFTER) => Standing::Unclear,
        StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Standing::Bad,
        _ => Standing::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_instances_would_say_is_held_against_none() {
        let standing = |status: u16, retry_after: Option<&str>| {
            let mut response = ResponseHeader::build(status, None).expect("a response");
            if let Some(seconds) = retry_after {
                response.insert_header(RETRY_AFTER, seconds).expect("a header");
            }
            standing(&response)
        };
        assert_eq!(standing(503, Some("1")), Standing::Unclear);
        for status in [500, 502, 503, 504] {
            assert_eq!(standing(status, None), Standing::Bad, "{status}");
        }
        for status in [200, 304, 404, 429, 501, 505] {
            assert_eq!(standing(status, None), Standing::Good, "{status}");
        }
    }
}
