//! How one request ended.

use std::time::Duration;

use http::{Method, StatusCode};

/// What an engine reports of a finished request.
pub struct Finished {
    /// The method.
    pub method: Method,
    /// The status that the client got; `None`: it left before.
    pub status: Option<StatusCode>,
    /// Body bytes sent to the client.
    pub response_bytes: usize,
}

/// The outcome of a request.
pub struct Outcome<'a> {
    /// The method, or `_OTHER`.
    pub method: &'static str,
    /// The route's template, because the path may contain a session id.
    pub route: &'static str,
    /// The status of the response.
    pub status: &'a str,
    /// From the complete header to the last byte written.
    pub duration: Duration,
    /// Body bytes sent to the client.
    pub response_bytes: usize,
}

impl Outcome<'_> {
    /// The duration in milliseconds, to the microsecond.
    pub fn duration_ms(&self) -> f64 {
        self.duration.as_micros() as f64 / 1_000.0
    }
}
