//! How strictly input is checked.

use actix_web::HttpRequest;

use crate::routes::is_legacy;

/// How strictly input is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Canonical paths: unknown fields are errors, and `Content-Type` must be JSON.
    Strict,
    /// Legacy paths: unknown fields and the content type are ignored.
    Lenient,
}

impl Strictness {
    /// The mode of the request's path.
    pub fn of(request: &HttpRequest) -> Self {
        if is_legacy(request) { Self::Lenient } else { Self::Strict }
    }
}
