//! Another scenario's requests, with an `Idempotency-Key` on each write.

use http::{HeaderValue, Method};
use proto_contracts::headers::IDEMPOTENCY_KEY;
use uuid::Uuid;

use super::{Operation, Scenario};
use crate::client::{Response, ScenarioRequest};
use crate::outcome::ErrorKind;

/// The request with a new key.
pub(crate) fn with_idempotency_key(mut request: ScenarioRequest) -> ScenarioRequest {
    // Hex digits and hyphens are always valid in a header value.
    if let Ok(key) = HeaderValue::try_from(Uuid::new_v4().to_string()) {
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    request
}

/// Adds a key to each write of the scenario.
pub(crate) struct Keyed<S>(pub(crate) S);

impl<S: Scenario> Scenario for Keyed<S> {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        let (operation, request) = self.0.next();
        (
            operation,
            if request.method() == Method::POST { with_idempotency_key(request) } else { request },
        )
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        self.0.check(response)
    }

    fn abandon(&mut self) {
        self.0.abandon();
    }
}
