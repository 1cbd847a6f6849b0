//! `[lab]`: what is for teaching and measuring alone.

use serde::Deserialize;

/// Whether a client may choose the strategy of its own requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lab {
    /// It may not: `X-Routing-Strategy` is dropped and means nothing.
    Closed,
    /// `X-Routing-Strategy` picks the code path for the one request, so that both run side by side under the same load.
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
