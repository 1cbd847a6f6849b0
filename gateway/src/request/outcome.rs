//! How one request ended.

use std::time::Duration;

/// How a request ended.
pub struct Outcome<'a> {
    /// A known method, or `_OTHER`.
    pub method: &'static str,
    /// The route's template, never the path, which may hold a session id.
    pub route: &'static str,
    /// The status that the client got.
    pub status: &'a str,
    /// From the header read to the last byte written.
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
