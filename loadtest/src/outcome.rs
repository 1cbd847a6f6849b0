//! How a request ended.

use std::fmt;

use proto_contracts::ErrorCode;

use crate::client::CallError;

/// Why a request counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ErrorKind {
    /// There was no connection to send it on.
    Connect,
    /// The connection broke before the response was complete.
    Broken,
    /// The request timed out.
    Timeout,
    /// The open loop's grace period ended before the request got a response, or a free connection.
    Unfinished,
    /// The response contradicts the client's state, or cannot be parsed.
    WrongResponse,
    /// A problem document.
    Problem(ErrorCode),
    /// An unexpected status without a problem document.
    Status(u16),
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Broken => f.write_str("broken"),
            Self::Timeout => f.write_str("timeout"),
            Self::Unfinished => f.write_str("unfinished"),
            Self::WrongResponse => f.write_str("wrong_response"),
            Self::Problem(code) => write!(f, "{code}"),
            Self::Status(status) => write!(f, "status_{status}"),
        }
    }
}

impl From<&CallError> for ErrorKind {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Connect(_) => Self::Connect,
            CallError::Broken(_) => Self::Broken,
        }
    }
}
