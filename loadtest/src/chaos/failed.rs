//! Requests that failed, with what leads to their lines in the logs.

use std::fmt;

use http::Method;
use proto_contracts::headers::{REQUEST_ID, SERVED_BY};
use proto_contracts::routes;

use crate::chaos::ledger::Interval;
use crate::client::{CallError, Response, ScenarioRequest};
use crate::outcome::ErrorKind;

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedRequest {
    pub(crate) time: Interval,
    pub(crate) kind: ErrorKind,
    pub(crate) request: Sent,
    pub(crate) end: Ending,
}

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

impl fmt::Display for FailedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request: Sent { method, template }, end, .. } = self;
        write!(f, "{method} {template}: ")?;
        match end {
            Ending::Response { request_id, instance } => {
                write!(f, "response of {instance}, request {request_id}")
            }
            Ending::Error(cause) => f.write_str(cause),
            Ending::TimedOut => f.write_str("no response in time"),
        }
    }
}
