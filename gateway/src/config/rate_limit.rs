//! `[rate_limit]`: request rate per client.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::config::check::{Check, canonical};
use crate::resilience::rate_limit::Policy;

/// Intervals are in microseconds.
const MAX_RATE: u32 = 1_000_000;

/// Networks whose clients have no limits.
#[derive(Clone, Debug)]
pub struct Exempt(Vec<IpNet>);

impl Exempt {
    /// Exempts clients in these networks.
    pub fn of(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this client is exempt.
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
    /// The policy (`None`: off) and the exempt clients.
    pub(super) fn check(self, check: &mut Check<'_>) -> (Option<Policy>, Exempt) {
        let Self { requests_per_second, burst, exempt } = self;
        let exempt = check.networks("GATEWAY_RATE_LIMIT_EXEMPT").unwrap_or(exempt);
        check.require(
            requests_per_second <= MAX_RATE,
            "[rate_limit] requests_per_second",
            format_args!("must be 0 (off) to {MAX_RATE}"),
        );
        check.require(
            (1..=MAX_RATE).contains(&burst),
            "[rate_limit] burst",
            format_args!("must be 1 to {MAX_RATE}"),
        );
        let exempt = Exempt::of(exempt.into_iter().map(canonical).collect());
        ((requests_per_second > 0).then(|| Policy::new(requests_per_second, burst)), exempt)
    }
}
