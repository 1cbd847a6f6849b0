//! `GET info`, over and over.

use http::{Request, StatusCode, Uri};
use proto_contracts::Endpoint;

use super::{Operation, Scenario, expect_status, without_body};
use crate::client::{Answer, ScenarioRequest};
use crate::recorder::ErrorKind;

/// A client that asks who answers.
pub(crate) struct InfoCalls {
    uri: Uri,
}

impl InfoCalls {
    pub(crate) fn new() -> Self {
        Self { uri: Uri::from_static(Endpoint::Info.templates().canonical) }
    }
}

impl Scenario for InfoCalls {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        let mut request = Request::new(without_body());
        *request.uri_mut() = self.uri.clone();
        (Operation::Info, request)
    }

    fn judge(&mut self, answer: &Answer) -> Result<(), ErrorKind> {
        expect_status(answer, StatusCode::OK)
    }

    fn give_up(&mut self) {}
}
