//! `[rate_limit]`: how often one client may come.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::config::check::{Check, canonical};
use crate::resilience::rate_limit::Policy;

/// An interval shorter than a microsecond cannot be told.
const MAX_RATE: u32 = 1_000_000;

/// The networks whose clients no limit of a client concerns.
#[derive(Clone, Debug)]
pub struct Exempt(Vec<IpNet>);

impl Exempt {
    /// The clients in these networks.
    pub fn of(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether it is among them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    requests_per_second: u32,
    burst: u32,
    exempt: Vec<IpNet>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            requests_per_second: 50,
            burst: 100,
            exempt: vec![
                IpNet::new_assert([127, 0, 0, 0].into(), 8),
                IpNet::new_assert([0, 0, 0, 0, 0, 0, 0, 1].into(), 128),
            ],
        }
    }
}

impl Section {
    /// The policy, none when it is off, and whom it does not concern.
    pub(super) fn check(self, check: &mut Check<'_>) -> (Option<Policy>, Exempt) {
        let Self { requests_per_second, burst, exempt } = self;
        let exempt = check.networks("GATEWAY_RATE_LIMIT_EXEMPT").unwrap_or(exempt);
        check.unless(
            requests_per_second <= MAX_RATE,
            "[rate_limit] requests_per_second",
            format_args!("must be 0 (off) to {MAX_RATE}"),
        );
        check.unless((1..=MAX_RATE).contains(&burst), "[rate_limit] burst", format_args!("must be 1 to {MAX_RATE}"));
        let exempt = Exempt::of(exempt.into_iter().map(canonical).collect());
        ((requests_per_second > 0).then(|| Policy::new(requests_per_second, burst)), exempt)
    }
}
