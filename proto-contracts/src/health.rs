//! Answers of `/livez` and `/readyz`. `/health` is the text [`HEALTHY`] and depends on nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceName;

/// Body of a good `/health` answer.
pub const HEALTHY: &str = "healthy";

/// What gateways and instances agree on: the headers between them, the affinity key, what a path stands for. It changes
/// when one of a new version would misunderstand one of an old version, and then no gateway uses an instance of another
/// number. An instance that sends no number is older than the number itself.
pub const PROTOCOL: u32 = 1;

/// Where a gateway tells an instance that it is drained (`PUT`, with a [`DrainInstance`](crate::control::DrainInstance)) and
/// that it is no longer (`DELETE`). No client gets there: gateways route none of it.
pub const DRAIN_PATH: &str = "/internal/drain";

/// Where a gateway tells an instance its weight (`PUT`, with a [`WeightDecision`](crate::WeightDecision) in the header
/// `X-Weight`). No client gets there: gateways route none of it.
pub const WEIGHT_PATH: &str = "/internal/weight";

/// An operator's last decision on whether an instance is drained, as every response to `/health` carries it:
/// `decided=<unix ms>`, and `; until=<unix ms>` while it is drained. 0 means that nobody has decided since the instance
/// started.
///
/// Of two decisions the later one holds, wherever it is remembered: that is how it survives a restart of the instance or
/// of a gateway, and how several gateways come to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainDecision {
    /// When it was decided, in milliseconds since 1970 by the clock of the gateway that was called.
    pub decided_ms: u64,
    /// When the drain ends and the keys move away, in milliseconds since 1970 by the instance's clock; `None` when the
    /// decision is that it serves.
    pub until_ms: Option<u64>,
}

impl fmt::Display for DrainDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decided={}", self.decided_ms)?;
        self.until_ms.map_or(Ok(()), |until| write!(f, "; until={until}"))
    }
}

/// The text is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 'decided=<unix ms>' or 'decided=<unix ms>; until=<unix ms>'")]
pub struct InvalidDrainDecision;

impl FromStr for DrainDecision {
    type Err = InvalidDrainDecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (decided, until) = match text.split_once("; ") {
            Some((decided, until)) => (decided, Some(until.strip_prefix("until=").ok_or(InvalidDrainDecision)?)),
            None => (text, None),
        };
        let decided = decided.strip_prefix("decided=").ok_or(InvalidDrainDecision)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidDrainDecision);
        Ok(Self { decided_ms: number(decided)?, until_ms: until.map(number).transpose()? })
    }
}

/// State of one dependency, or of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers.
    Up,
    /// It does not; what needs it fails with 503 until it does.
    Down,
    /// The process is shutting down, or its drain is over.
    Draining,
}

/// Body of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// `up` when every dependency is that some call cannot do without; readiness then answers 200, else 503.
    pub status: Status,
    /// Which service this is.
    pub service: String,
    /// Which instance this is.
    pub instance: InstanceName,
    /// Each dependency's state, by name.
    pub dependencies: BTreeMap<String, Dependency>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Whether it answers.
    pub status: Status,
    /// What is wrong, in words that carry no secret; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_reads_back_as_it_was_written() {
        for until_ms in [None, Some(1_800_000_030_000)] {
            let decision = DrainDecision { decided_ms: 1_800_000_000_000, until_ms };
            assert_eq!(decision.to_string().parse(), Ok(decision));
        }
        for wrong in ["", "decided=", "decided=-1", "until=1", "decided=1; until=", "decided=1;until=2", "decided=1; x"]
        {
            assert_eq!(wrong.parse::<DrainDecision>(), Err(InvalidDrainDecision), "{wrong:?}");
        }
    }
}
