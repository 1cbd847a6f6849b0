//! `GET info`, over and over.

use http::StatusCode;
use proto_contracts::Endpoint;

use super::{Operation, Scenario, expect_status};
use crate::client::{Answer, ScenarioRequest};
use crate::recorder::ErrorKind;
use crate::request;

/// A client that asks who answers.
pub(crate) struct InfoCalls {
    path: &'static str,
}

impl InfoCalls {
    pub(crate) fn new() -> Self {
        Self { path: Endpoint::Info.templates().canonical }
    }
}

impl Scenario for InfoCalls {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        (Operation::Info, request::get(self.path))
    }

    fn judge(&mut self, answer: &Answer) -> Result<(), ErrorKind> {
        expect_status(answer, StatusCode::OK)
    }

    fn give_up(&mut self) {}
}
