//! Repeated `GET info`, and pages of products.

use http::StatusCode;
use proto_contracts::Endpoint;

use super::{Operation, Scenario, expect_status};
use crate::client::{Response, ScenarioRequest};
use crate::outcome::ErrorKind;
use crate::request;

/// A client of `GET info`.
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

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        expect_status(response, StatusCode::OK)
    }

    fn abandon(&mut self) {}
}

/// A client of product pages that are not cached.
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
        // A cursor is an id in hex. Any id is valid: the page starts with the next product.
        let cursor: String = format!("{:032x}", rand::random::<u128>())
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (Operation::Products, request::get(&format!("{}?limit=1&cursor={cursor}", self.path)))
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        expect_status(response, StatusCode::OK)
    }

    fn abandon(&mut self) {}
}
