//! What a client asks, and whether the answer is right.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use proto_contracts::headers::PROBLEM_JSON;
use proto_contracts::{ErrorCode, Problem};

use crate::client::{Answer, ScenarioRequest};
use crate::recorder::ErrorKind;

mod keyed;
mod stateful;
mod stateless;

pub(crate) use keyed::{Keyed, with_idempotency_key};
pub(crate) use stateful::Conversations;
pub(crate) use stateless::{InfoCalls, UncachedPages};

/// What a request does. The report has a row for each.
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

/// One client's script. It asks for one call at a time and is told how that went.
pub(crate) trait Scenario: Send + 'static {
    /// The next call.
    fn next(&mut self) -> (Operation, ScenarioRequest);

    /// Checks the answer to the last call and learns from it.
    fn judge(&mut self, answer: &Answer) -> Result<(), ErrorKind>;

    /// The last call had no answer, or a wrong one: whether it took effect is unknown.
    fn give_up(&mut self);
}

/// Whether the answer has this status; if not, what it says is wrong.
fn expect_status(answer: &Answer, expected: StatusCode) -> Result<(), ErrorKind> {
    if answer.status == expected {
        return Ok(());
    }
    Err(problem_code(answer).map_or(ErrorKind::Status(answer.status.as_u16()), ErrorKind::Problem))
}

/// What the answer says is wrong, when it is a problem document.
pub(crate) fn problem_code(answer: &Answer) -> Option<ErrorCode> {
    let media_type = answer.headers.get(CONTENT_TYPE)?.as_bytes();
    let is_problem = media_type.starts_with(PROBLEM_JSON.as_bytes());
    let problem = is_problem.then(|| serde_json::from_slice::<Problem>(&answer.body).ok())??;
    Some(problem.code)
}
