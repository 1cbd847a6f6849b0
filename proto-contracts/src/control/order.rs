//! Changes that a gateway passes on to the deployment's other gateways.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A gateway of the deployment that a change did not reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MissedGateway {
    /// The address of its control plane, or its DNS name while that has no address.
    pub gateway: String,
    /// Why, in a few words.
    pub cause: String,
}

impl fmt::Display for MissedGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.gateway, self.cause)
    }
}

/// The place of a change among the changes of the same thing: the later one wins at every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeOrder {
    /// When it was made, in milliseconds since 1970, by the clock of the gateway that got it, but
    /// later than each change that this gateway knew.
    pub decided_ms: u64,
    /// Drawn at random, so that no two changes are equal.
    pub nonce: u32,
}

impl fmt::Display for ChangeOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.decided_ms, self.nonce)
    }
}

/// The text is not a [`ChangeOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected '<unix ms>-<8 hex digits>'")]
pub struct InvalidChangeOrder;

impl FromStr for ChangeOrder {
    type Err = InvalidChangeOrder;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (decided, nonce) = text.split_once('-').ok_or(InvalidChangeOrder)?;
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if nonce.len() != 8 || !are_digits(nonce) || !are_digits(decided) {
            return Err(InvalidChangeOrder);
        }
        Ok(Self {
            decided_ms: decided.parse().map_err(|_| InvalidChangeOrder)?,
            nonce: u32::from_str_radix(nonce, 16).map_err(|_| InvalidChangeOrder)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        for (decided_ms, nonce) in [(0, 0), (1_800_000_000_000, 0x0bad_cafe), (u64::MAX, u32::MAX)]
        {
            let order = ChangeOrder { decided_ms, nonce };
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for wrong in [
            "",
            "1",
            "-00000000",
            "1-",
            "1-0",
            "+1-00000000",
            "1-+0000000",
            "a-00000000",
            "1-000000000",
        ] {
            assert_eq!(wrong.parse::<ChangeOrder>(), Err(InvalidChangeOrder), "{wrong:?}");
        }
    }

    #[test]
    fn time_counts_before_the_nonce() {
        let order = |decided_ms, nonce| ChangeOrder { decided_ms, nonce };
        assert!(order(2, 0) > order(1, 9));
        assert!(order(1, 9) > order(1, 8));
    }
}
