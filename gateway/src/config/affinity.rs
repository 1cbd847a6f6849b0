//! `[affinity]`: the hash seed, the same in all gateways of an installation.

use serde::Deserialize;

use crate::config::check::Check;
use crate::rendezvous::Seed;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    seed: String,
}

impl Default for Section {
    fn default() -> Self {
        Self { seed: "tandem".to_owned() }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Seed {
        check.require(!self.seed.is_empty(), "[affinity] seed", "must not be empty");
        Seed::from_text(&self.seed)
    }
}
