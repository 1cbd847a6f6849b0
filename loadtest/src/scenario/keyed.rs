//! Another scenario's requests, with an `Idempotency-Key` on each write.

use http::{HeaderValue, Method};
use proto_contracts::headers::IDEMPOTENCY_KEY;
use uuid::Uuid;

use super::{Operation, Scenario};
use crate::client::{Answer, ScenarioRequest};
use crate::recorder::ErrorKind;

/// The request with a key of its own.
pub(crate) fn with_idempotency_key(mut request: ScenarioRequest) -> ScenarioRequest {
    // Hex digits and hyphens are always a header's value.
    if let Ok(key) = HeaderValue::try_from(Uuid::new_v4().to_string()) {
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    request
}

/// The other scenario.
pub(crate) struct Keyed<S>(pub(crate) S);

impl<S: Scenario> Scenario for Keyed<S> {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        let (operation, request) = self.0.next();
        (operation, if request.method() == Method::POST { with_idempotency_key(request) } else { request })
    }

    fn judge(&mut self, answer: &Answer) -> Result<(), ErrorKind> {
        self.0.judge(answer)
    }

    fn give_up(&mut self) {
        self.0.give_up();
    }
}
