//! Why one attempt to have Redis do something came to nothing.

use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use service_kit::redis::{NoConnection, TimeoutType};

use crate::store::StoreFault;

type Cause = Box<dyn Error + Send + Sync>;

/// What is known of an attempt that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was done: Redis cannot be reached, or says that it does not serve now. It may be back in a moment.
    Away(Cause),
    /// Nothing was done, and it would be the same in a moment.
    Refused(Cause),
    /// The connection broke after the command was sent. It was done before that, or never will be.
    Broken(Cause),
    /// No answer came in time. It may be done at any time from now.
    Late(Cause),
    /// Redis holds something that this program did not write.
    Damaged(Cause),
}

impl From<NoConnection> for Failure {
    fn from(error: NoConnection) -> Self {
        match error {
            NoConnection::Backend(_) | NoConnection::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Away(error.into())
            }
            // Too many at once, which waiting makes no better.
            _ => Self::Refused(error.into()),
        }
    }
}

/// What an error means for an act that had a connection.
impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            // The key holds something else, or the script returned it.
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Damaged(error.into()),
            _ if error.code() == Some("WRONGTYPE") => Self::Damaged(error.into()),
            ErrorKind::Io if error.is_timeout() => Self::Late(error.into()),
            ErrorKind::Io => Self::Broken(error.into()),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain,
            ) => Self::Away(error.into()),
            // It would not: it is out of memory, cannot write to its disk …
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<Failure> for StoreFault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(cause) | Failure::Refused(cause) => Self::Unavailable(cause),
            Failure::Broken(cause) | Failure::Late(cause) => Self::NoAnswer(cause),
            Failure::Damaged(cause) => Self::Damaged(cause),
        }
    }
}
