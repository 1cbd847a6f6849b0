//! `GET info`, over and over, and pages of products.

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

/// A client that turns to a page of products that nobody has asked for, so that no cache has it.
pub(crate) struct UncachedPages {
    path: &'static str,
}

impl UncachedPages {
    pub(crate) fn new() -> Self {
        Self { path: Endpoint::Products.templates().canonical }
    }
}

impl Scenario for UncachedPages {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        // A cursor is an id in hexadecimal, and any id will do: the page starts with the next product there is.
        let cursor: String =
            format!("{:032x}", rand::random::<u128>()).bytes().map(|byte| format!("{byte:02x}")).collect();
        (Operation::Products, request::get(&format!("{}?limit=1&cursor={cursor}", self.path)))
    }

    fn judge(&mut self, answer: &Answer) -> Result<(), ErrorKind> {
        expect_status(answer, StatusCode::OK)
    }

    fn give_up(&mut self) {}
}
