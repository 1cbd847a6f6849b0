//! `[lab]`: settings for demonstrations and measurements.

use serde::Deserialize;

/// Whether clients may override the strategy of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lab {
    /// No: `X-Routing-Strategy` is dropped.
    Closed,
    /// `X-Routing-Strategy` selects the strategy of a request, so that both run under the same
    /// load. The strategies for lessons are available, too.
    Open,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    enabled: bool,
}

impl Section {
    pub(super) fn check(&self) -> Lab {
        if self.enabled { Lab::Open } else { Lab::Closed }
    }
}
