//! The requests of a client, and the checks of the responses.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use proto_contracts::headers::PROBLEM_JSON;
use proto_contracts::{ErrorCode, Problem};

use crate::client::{Response, ScenarioRequest};
use crate::outcome::ErrorKind;

mod keyed;
mod routed;
mod stateful;
mod stateless;

pub(crate) use keyed::{Keyed, with_idempotency_key};
pub(crate) use routed::{Routed, with_strategy};
pub(crate) use stateful::{Conversations, affinity_cookie};
pub(crate) use stateless::{InfoCalls, UncachedPages};

/// The operation of a request: one row of the report each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operation {
    Info,
    Products,
    Create,
    Message,
    Read,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Products => "products",
            Self::Create => "create",
            Self::Message => "message",
            Self::Read => "read",
        }
    }
}

/// One client's script, one request at a time.
pub(crate) trait Scenario: Send + 'static {
    /// The next request.
    fn next(&mut self) -> (Operation, ScenarioRequest);

    /// Checks the response to the last request and updates the client's state.
    fn check(&mut self, response: &Response) -> Result<(), ErrorKind>;

    /// The last request failed: whether it took effect is unknown.
    fn abandon(&mut self);
}

/// Checks the status; the error is the problem's code, or the status.
pub(crate) fn expect_status(response: &Response, expected: StatusCode) -> Result<(), ErrorKind> {
    if response.status == expected {
        return Ok(());
    }
    Err(problem_code(response)
        .map_or(ErrorKind::Status(response.status.as_u16()), ErrorKind::Problem))
}

/// The code of a problem document.
pub(crate) fn problem_code(response: &Response) -> Option<ErrorCode> {
    let media_type = response.headers.get(CONTENT_TYPE)?.as_bytes();
    let is_problem = media_type.starts_with(PROBLEM_JSON.as_bytes());
    let problem = is_problem.then(|| serde_json::from_slice::<Problem>(&response.body).ok())??;
    Some(problem.code)
}
