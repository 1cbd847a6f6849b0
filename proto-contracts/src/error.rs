//! All error codes, and the problem document that carries them (RFC 9457).

mod codes;
mod page;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RequestId;

pub use codes::{ErrorCode, Repeat};
pub use page::{Site, index, page};

/// An `application/problem+json` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `/docs/errors/<code>`, relative to the URI of the request: a page for people.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// A short summary of the code, the same for each occurrence.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// Cause and cure of this occurrence. Never internal text.
    pub detail: Cow<'static, str>,
    /// For programs to match on.
    pub code: ErrorCode,
    /// The request's id in the logs; absent when no request could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl Problem {
    /// `detail` must not contain internal text.
    pub fn new(
        code: ErrorCode,
        detail: impl Into<Cow<'static, str>>,
        request_id: Option<RequestId>,
    ) -> Self {
        Self {
            kind: code.page_path().into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let mut seen = std::collections::HashSet::new();
        for &code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let json = serde_json::to_string(&code).expect("serializes");
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).expect("reads back"), code);
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let problem = Problem::new(ErrorCode::DivisionByZero, "operand 2 is 0", None);
        let json = serde_json::to_value(&problem).expect("serializes");
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/docs/errors/division_by_zero",
                "title": "Division by zero",
                "status": 422,
                "detail": "operand 2 is 0",
                "code": "division_by_zero",
            })
        );
    }
}
