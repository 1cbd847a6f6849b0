//! How requests may fail in a fault, by the runbook's table of failures ([`crate::faults::table`]).

use std::time::Duration;

use proto_contracts::ErrorCode;

use crate::chaos::fault_kind::FaultKind;
use crate::outcome::ErrorKind;

/// The gateway ends a request sooner: two attempts of 2 s, and 15 s at the last instance.
const GATEWAY_TIMEOUT: Duration = Duration::from_millis(19_500);

impl FaultKind {
    /// How requests may fail in it, by the runbook's table of failures; `None` where anything may
    /// break.
    const fn may_fail_as(self) -> Option<&'static [ErrorCode]> {
        match self {
            // The instance sends the script again, which finds that it was executed.
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
            _ if self.is_operation() => Some(&[]),
            _ => None,
        }
    }

    /// Whether a request may fail so in it after this time, by the same table.
    pub(crate) fn promises(self, error: ErrorKind, took: Duration) -> bool {
        let Some(codes) = self.may_fail_as() else { return true };
        match error {
            ErrorKind::Problem(code) => codes.contains(&code),
            // A client that gives up sooner than the gateway cannot know how the request would have
            // ended.
            ErrorKind::Timeout => !codes.is_empty() && took < GATEWAY_TIMEOUT,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_promises_what_the_table_says_and_patience_shows_the_rest() {
        let (hang, long) = (FaultKind::HangRedis, Duration::from_secs(20));
        let away = ErrorKind::Problem(ErrorCode::SessionStoreUnavailable);
        assert!(hang.promises(away, long));
        assert!(!hang.promises(ErrorKind::Problem(ErrorCode::UpstreamFailed), long));
        assert!(hang.promises(ErrorKind::Timeout, Duration::from_secs(5)), "an impatient client");
        assert!(!hang.promises(ErrorKind::Timeout, long), "nothing takes so long");
        for operation in [FaultKind::DrainAgain, FaultKind::WrongInstance, FaultKind::CutReply] {
            assert!(
                !operation.promises(away, long)
                    && !operation.promises(ErrorKind::Timeout, Duration::ZERO)
            );
        }
        assert!(FaultKind::KillGateway.promises(ErrorKind::Broken, long), "anything may break");
    }
}
