//! Classifies a failed attempt of a Redis command.

use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use service_kit::redis::{NoConnection, TimeoutType};

use crate::store::StoreFault;

type Cause = Box<dyn Error + Send + Sync>;

/// What is known about a failed attempt.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not executed: Redis is unreachable or not serving. A retry may succeed.
    Away(Cause),
    /// Not executed, and a retry would fail, too.
    Refused(Cause),
    /// The connection broke after the command was sent. It was executed before that, or never will
    /// be.
    Broken(Cause),
    /// The response timed out. The command may still be executed at any time.
    Late(Cause),
    /// Redis holds a value that this program did not write.
    Damaged(Cause),
}

impl From<NoConnection> for Failure {
    fn from(error: NoConnection) -> Self {
        match error {
            NoConnection::Backend(_)
            | NoConnection::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Away(error.into())
            }
            // Pool exhausted: a retry would add to the load.
            _ => Self::Refused(error.into()),
        }
    }
}

/// An error after a connection was obtained.
impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            // The key holds another type, or the script returned one.
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
            // Out of memory, disk errors, and so on.
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<Failure> for StoreFault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(cause) | Failure::Refused(cause) => Self::Unavailable(cause),
            Failure::Broken(cause) | Failure::Late(cause) => Self::NoResponse(cause),
            Failure::Damaged(cause) => Self::Damaged(cause),
        }
    }
}
