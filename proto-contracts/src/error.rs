//! All error codes, and the problem document that carries them (RFC 9457).

mod codes;
mod page;
mod status;

use std::borrow::Cow;
use std::fmt;

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
    /// The fields and parameters that are wrong, as far as they are known: at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A field of the body or a parameter of the query that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// The place in the body: a JSON Pointer (RFC 6901), such as `/operands/1`. Empty for the whole
    /// body. Absent for a parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Cow<'static, str>>,
    /// The name of the query parameter; absent for a field of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<Cow<'static, str>>,
    /// What is wrong, as the rest of a sentence that begins with the field: `must be a number`.
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// Of a field of the body, by its JSON Pointer.
    pub fn in_body(
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, detail: detail.into() }
    }

    /// Of a parameter of the query.
    pub fn in_query(
        parameter: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: None, parameter: Some(parameter.into()), detail: detail.into() }
    }

    /// The fault as a sentence.
    pub fn sentence(&self) -> String {
        let mut sentence = format!("{self}.");
        if let Some(first) = sentence.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        sentence
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, parameter, detail } = self;
        // The texts of some types are sentences of their own.
        let is_rest = ["must ", "is ", "has "].iter().any(|verb| detail.starts_with(verb));
        let colon = if is_rest { "" } else { ":" };
        match pointer.as_deref().or(parameter.as_deref()) {
            Some("") if pointer.is_some() => write!(f, "the body{colon} {detail}"),
            Some("") | None => write!(f, "the query{colon} {detail}"),
            Some(place) => write!(f, "`{place}`{colon} {detail}"),
        }
    }
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
            errors: Vec::new(),
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

    #[test]
    fn a_problem_lists_wrong_fields() {
        let problem = Problem::new(ErrorCode::InvalidBody, "", None);
        let errors = vec![
            FieldError::in_body("/operands/1", "must be a number"),
            FieldError::in_query("limit", "must be 1 to 200"),
        ];
        let problem = Problem { errors, ..problem };
        let json = serde_json::to_value(&problem).expect("serializes");
        assert_eq!(
            json["errors"],
            serde_json::json!([
                {"pointer": "/operands/1", "detail": "must be a number"},
                {"parameter": "limit", "detail": "must be 1 to 200"},
            ])
        );
        assert_eq!(serde_json::from_value::<Problem>(json).expect("reads back"), problem);
    }

    #[test]
    fn a_wrong_field_is_a_sentence() {
        for (error, sentence) in [
            (FieldError::in_body("/a", "must be a string"), "`/a` must be a string."),
            (FieldError::in_body("", "must be an object"), "The body must be an object."),
            (FieldError::in_query("key", "a key is 8 digits"), "`key`: a key is 8 digits."),
        ] {
            assert_eq!(error.sentence(), sentence);
        }
    }
}
