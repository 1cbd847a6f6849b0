//! `[limits]`: how large a request may be.

use serde::Deserialize;

use crate::config::check::Check;

/// How large a request may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes that a request body may have.
    pub max_body_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_body_bytes: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self { max_body_bytes: 1024 * 1024 }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Limits {
        check.unless(self.max_body_bytes > 0, "[limits] max_body_bytes", "must be at least 1");
        Limits { max_body_bytes: self.max_body_bytes }
    }
}
