//! Another scenario's requests, each of which demands a routing strategy. Only a gateway whose lab
//! is open allows that.

use http::HeaderValue;
use proto_contracts::control::Strategy;
use proto_contracts::headers::ROUTING_STRATEGY;

use super::{Operation, Scenario};
use crate::client::{Response, ScenarioRequest};
use crate::outcome::ErrorKind;

/// The request with this strategy.
pub(crate) fn with_strategy(
    mut request: ScenarioRequest,
    strategy: &'static str,
) -> ScenarioRequest {
    request.headers_mut().insert(ROUTING_STRATEGY, HeaderValue::from_static(strategy));
    request
}

/// Adds the strategy to each request of the scenario.
pub(crate) struct Routed<S> {
    scenario: S,
    strategy: Strategy,
}

impl<S> Routed<S> {
    pub(crate) fn new(scenario: S, strategy: Strategy) -> Self {
        Self { scenario, strategy }
    }
}

impl<S: Scenario> Scenario for Routed<S> {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        let (operation, request) = self.scenario.next();
        (operation, with_strategy(request, self.strategy.as_str()))
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        self.scenario.check(response)
    }

    fn abandon(&mut self) {
        self.scenario.abandon();
    }
}
