//! How requests may fail during a fault, by the runbook's table ([`crate::faults::table`]).

use std::time::Duration;

use proto_contracts::ErrorCode;

use crate::chaos::fault_kind::FaultKind;
use crate::outcome::ErrorKind;

/// The gateway ends a request sooner: two attempts of 2 s, and 15 s at the last instance.
const GATEWAY_TIMEOUT: Duration = Duration::from_millis(19_500);

impl FaultKind {
    /// Error codes that the runbook's table lists for this fault; `None` if any error is allowed.
    const fn may_fail_as(self) -> Option<&'static [ErrorCode]> {
        match self {
            // The instance sends the script again, and Redis replies that it was executed already.
            Self::CutReply => Some(&[]),
            // A write whose outcome is unknown is repeated under its key; a read comes from memory.
            Self::FullDisk => Some(&[ErrorCode::SessionStoreUnavailable]),
            // A read that was moved to the last instance may wait there until its deadline.
            Self::HangRedis => {
                Some(&[ErrorCode::SessionStoreUnavailable, ErrorCode::UpstreamTimeout])
            }
            // Reads and writes with a key, which all of the run's are, move on to the next
            // instance, as many of them as the retry budget allows. The others end with a timeout,
            // or when the instance wakes up and finds that Redis did not reply in time.
            Self::HangStateful => {
                Some(&[ErrorCode::SessionStoreUnavailable, ErrorCode::UpstreamTimeout])
            }
            // What waits for PostgreSQL or the cache longer than their outages are bridged. An
            // upload may wait for PostgreSQL at its begin and at its end.
            Self::KillPostgres | Self::RestartPostgres => Some(&[ErrorCode::DatabaseUnavailable]),
            Self::HangPostgres => {
                Some(&[ErrorCode::DatabaseUnavailable, ErrorCode::UpstreamTimeout])
            }
            Self::KillCache | Self::HangCache => Some(&[ErrorCode::CacheUnavailable]),
            // An upload cannot be sent twice. What an instance had sent to PostgreSQL or the cache
            // times out as it wakes up.
            Self::HangStateless => Some(&[
                ErrorCode::UpstreamTimeout,
                ErrorCode::DatabaseUnavailable,
                ErrorCode::CacheUnavailable,
            ]),
            _ if self.is_operation() => Some(&[]),
            _ => None,
        }
    }

    /// Whether a request may fail with this error after this time, by the same table.
    pub(crate) fn allows(self, error: ErrorKind, took: Duration) -> bool {
        let Some(codes) = self.may_fail_as() else { return true };
        match error {
            ErrorKind::Problem(code) => codes.contains(&code),
            // The client's timeout was shorter than the gateway's, so the response is unknown.
            ErrorKind::Timeout => !codes.is_empty() && took < GATEWAY_TIMEOUT,
            // A download that had begun.
            ErrorKind::Broken => self == Self::HangStateless,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_allows_its_errors_and_client_timeouts_before_the_gateways() {
        let (hang, long) = (FaultKind::HangRedis, Duration::from_secs(20));
        let away = ErrorKind::Problem(ErrorCode::SessionStoreUnavailable);
        assert!(hang.allows(away, long));
        assert!(!hang.allows(ErrorKind::Problem(ErrorCode::UpstreamFailed), long));
        assert!(hang.allows(ErrorKind::Timeout, Duration::from_secs(5)), "a short client timeout");
        assert!(!hang.allows(ErrorKind::Timeout, long), "the gateway times out earlier");
        for operation in [FaultKind::DrainAgain, FaultKind::WrongInstance, FaultKind::CutReply] {
            assert!(
                !operation.allows(away, long)
                    && !operation.allows(ErrorKind::Timeout, Duration::ZERO)
            );
        }
        assert!(FaultKind::KillGateway.allows(ErrorKind::Broken, long), "anything may break");
        assert!(FaultKind::HangStateless.allows(ErrorKind::Broken, long));
        let database = ErrorKind::Problem(ErrorCode::DatabaseUnavailable);
        assert!(FaultKind::HangPostgres.allows(database, long));
        assert!(!FaultKind::HangCache.allows(database, long), "reads bypass the cache");
        assert!(!FaultKind::KillPostgres.allows(away, long), "sessions do not need PostgreSQL");
    }
}
