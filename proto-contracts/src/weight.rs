//! The weight of an instance in its pool.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// An instance's share of its pool's keys and requests, relative to the others: 1 to 256, as in
/// HAProxy. The default is 1. There is no 0: drain the instance instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Weight(#[schemars(extend("minimum" = 1, "maximum" = 256))] u16);

impl Weight {
    /// The smallest weight, and the default.
    pub const ONE: Self = Self(1);
    /// The largest weight.
    pub const MAX: u16 = 256;

    /// `None` unless it is 1 to 256.
    pub const fn new(shares: u16) -> Option<Self> {
        if shares >= 1 && shares <= Self::MAX { Some(Self(shares)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number is not a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is 1 to 256; to stop new traffic to an instance, drain it")]
pub struct InvalidWeight;

impl FromStr for Weight {
    type Err = InvalidWeight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or(InvalidWeight)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shares = i64::deserialize(deserializer)?;
        u16::try_from(shares)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| serde::de::Error::custom(InvalidWeight))
    }
}

/// The value of `X-Weight`: `<weight>; decided=<unix ms>`. The time is 0 for the instance's own
/// `INSTANCE_WEIGHT`, which no operator has changed since it started. Of two decisions the later
/// one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightDecision {
    /// The weight.
    pub weight: Weight,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: u64,
}

impl fmt::Display for WeightDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; decided={}", self.weight, self.decided_ms)
    }
}

/// The text is not a [`WeightDecision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected '<weight>; decided=<unix ms>'")]
pub struct InvalidWeightDecision;

impl FromStr for WeightDecision {
    type Err = InvalidWeightDecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (weight, decided) = text.split_once("; decided=").ok_or(InvalidWeightDecision)?;
        let decided_ms = decided.parse().map_err(|_| InvalidWeightDecision)?;
        Ok(Self { weight: weight.parse().map_err(|_| InvalidWeightDecision)?, decided_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_1_to_256() {
        for (json, shares) in
            [("1", Some(1)), ("256", Some(256)), ("0", None), ("257", None), ("-1", None)]
        {
            assert_eq!(
                serde_json::from_str::<Weight>(json).ok().map(Weight::get),
                shares,
                "{json}"
            );
            assert_eq!(json.parse::<Weight>().ok().map(Weight::get), shares, "{json}");
        }
        let zero = serde_json::from_str::<Weight>("0").expect_err("rejected").to_string();
        assert!(zero.contains("drain"), "{zero}");
    }

    #[test]
    fn a_decision_round_trips() {
        let decision = WeightDecision { weight: Weight(3), decided_ms: 1_800_000_000_000 };
        assert_eq!(decision.to_string().parse(), Ok(decision));
        for wrong in ["", "3", "0; decided=1", "3; decided=", "3;decided=1"] {
            assert_eq!(wrong.parse::<WeightDecision>(), Err(InvalidWeightDecision), "{wrong:?}");
        }
    }
}
