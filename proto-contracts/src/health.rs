//! Health responses: the bodies of `/livez` and `/readyz`, and what gateways and instances
//! exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceName;

/// Body of a `/health` response, which checks no dependency.
pub const HEALTHY: &str = "healthy";

/// Version of the contract between gateways and instances: their headers, the affinity key, the
/// meaning of paths. Each incompatible change increments it, and gateways use no instance with
/// another version. An instance that sends none is older than the header.
pub const PROTOCOL: u32 = 1;

/// Begins a drain (`PUT`, with a [`DrainInstance`](crate::control::DrainInstance)) or ends it
/// (`DELETE`). Gateways forward no client request to it.
pub const DRAIN_PATH: &str = "/internal/drain";

/// Sets the weight (`PUT`, with a [`WeightDecision`](crate::WeightDecision) in `X-Weight`).
/// Gateways forward no client request to it.
pub const WEIGHT_PATH: &str = "/internal/weight";

/// An operator's last decision on an instance's drain: `decided=<unix ms>`, and `; until=<unix ms>`
/// while it drains. The time is 0 if there was no decision since the instance started.
///
/// Instances and gateways both store it, and of two decisions the later one wins. So it survives a
/// restart of either, and gateways converge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainDecision {
    /// When it was decided, in milliseconds since 1970, by the clock of the deciding gateway.
    pub decided_ms: u64,
    /// When the keys move away, in milliseconds since 1970, by the instance's clock; `None` for no
    /// drain.
    pub until_ms: Option<u64>,
}

impl fmt::Display for DrainDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decided={}", self.decided_ms)?;
        self.until_ms.map_or(Ok(()), |until| write!(f, "; until={until}"))
    }
}

/// The text is not a [`DrainDecision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 'decided=<unix ms>' or 'decided=<unix ms>; until=<unix ms>'")]
pub struct InvalidDrainDecision;

impl FromStr for DrainDecision {
    type Err = InvalidDrainDecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (decided, until) = match text.split_once("; ") {
            Some((decided, until)) => {
                (decided, Some(until.strip_prefix("until=").ok_or(InvalidDrainDecision)?))
            }
            None => (text, None),
        };
        let decided = decided.strip_prefix("decided=").ok_or(InvalidDrainDecision)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidDrainDecision);
        Ok(Self { decided_ms: number(decided)?, until_ms: until.map(number).transpose()? })
    }
}

/// State of a dependency, or of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It responds.
    Up,
    /// It does not respond; requests that need it fail with 503.
    Down,
    /// The instance is stopping, or its drain is over.
    Draining,
}

/// Body of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// `up` when every required dependency is up; `/readyz` then responds with 200, else 503.
    pub status: Status,
    /// The service's name.
    pub service: String,
    /// The instance's name.
    pub instance: InstanceName,
    /// The dependencies by name.
    pub dependencies: BTreeMap<String, Dependency>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Whether it responds.
    pub status: Status,
    /// What is wrong, without secrets; absent when it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_round_trips() {
        for until_ms in [None, Some(1_800_000_030_000)] {
            let decision = DrainDecision { decided_ms: 1_800_000_000_000, until_ms };
            assert_eq!(decision.to_string().parse(), Ok(decision));
        }
        for wrong in [
            "",
            "decided=",
            "decided=-1",
            "until=1",
            "decided=1; until=",
            "decided=1;until=2",
            "decided=1; x",
        ] {
            assert_eq!(wrong.parse::<DrainDecision>(), Err(InvalidDrainDecision), "{wrong:?}");
        }
    }
}
