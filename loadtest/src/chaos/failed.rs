//! What is known of a request that failed: what leads to its lines in the logs.

use std::fmt;

use http::Method;
use proto_contracts::headers::{REQUEST_ID, SERVED_BY};
use proto_contracts::routes;

use crate::client::{CallError, Response, ScenarioRequest};

/// What was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    method: Method,
    /// The path's template: unlike the path, it has no session id.
    template: &'static str,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// With a response, by this instance.
    Response {
        request_id: String,
        instance: String,
    },
    /// Without one, for this reason.
    Error(String),
    TimedOut,
}

impl From<&ScenarioRequest> for Sent {
    fn from(request: &ScenarioRequest) -> Self {
        let found = routes::resolve(request.uri().path());
        let template = found.map_or("/", |found| found.endpoint.templates().canonical);
        Self { method: request.method().clone(), template }
    }
}

impl From<&Response> for Ending {
    fn from(response: &Response) -> Self {
        let header = |name| {
            let value = response.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or("unknown").to_owned()
        };
        Self::Response { request_id: header(REQUEST_ID), instance: header(SERVED_BY) }
    }
}

impl From<CallError> for Ending {
    fn from(error: CallError) -> Self {
        Self::Error(format!("{:#}", anyhow::Error::from(error)))
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { request_id, instance } => {
                write!(f, "response of {instance}, request {request_id}")
            }
            Self::Error(cause) => f.write_str(cause),
            Self::TimedOut => f.write_str("no response in time"),
        }
    }
}
