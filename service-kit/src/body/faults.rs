//! Finds the faults of a body or query that could not be parsed, and says them in plain words.
//!
//! Serde stops at the first fault, and its texts name types of Rust. So the input is read once
//! more, into the same type. A value of the wrong type is noted and replaced by one that fits. The
//! result is discarded. This costs several times the time of parsing, for invalid input only.

use std::borrow::Cow;

use proto_contracts::error::FieldError;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::strictness::Strictness;

mod findings;
mod reader;
mod values;

use findings::{Findings, Path};
use reader::{Input, Reader};

/// The faults of a JSON object that is not a `T`.
pub(super) fn in_body<T: DeserializeOwned>(
    json: &RawValue,
    strictness: Strictness,
) -> Vec<FieldError> {
    find::<T>(Input::Json(json), Findings::of_body(strictness))
}

/// The faults of the parameters of a query that are not a `T`.
pub(super) fn in_query<T: DeserializeOwned>(
    parameters: &[(Cow<'_, str>, Cow<'_, str>)],
    strictness: Strictness,
) -> Vec<FieldError> {
    find::<T>(Input::Query(parameters), Findings::of_query(strictness))
}

fn find<T: DeserializeOwned>(input: Input<'_>, mut findings: Findings) -> Vec<FieldError> {
    loop {
        let path = &Path::Root;
        let read = T::deserialize(Reader { input, path, findings: &findings });
        let _discarded = findings.settle(path, read);
        // A missing field ends the reading of its object. It is read again, with the field.
        match findings.with_the_missing_ones() {
            Ok(again) => findings = again,
            Err(faults) => return faults,
        }
    }
}
