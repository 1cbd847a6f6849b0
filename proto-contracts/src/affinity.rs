//! The affinity key, and the stamp that explains a routing decision to the client.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// Name of the cookie that carries the [`AffinityKey`].
pub const COOKIE_NAME: &str = "affinity";

/// Keeps a client on one stateful instance: 32 random bits, written as 8 lower-case hex digits.
///
/// The key names no server: its home follows from the key and the pool's membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct AffinityKey(#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{8}$"))] u32);

impl AffinityKey {
    /// The key with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The key's 32 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A fresh key from the thread's cryptographic generator.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads a key from the bytes of a header, a cookie or a path; `None` unless they are exactly 8
    /// lower-case hex digits.
    pub fn parse_bytes(text: &[u8]) -> Option<Self> {
        hex::decode(text).map(u32::from_be_bytes).map(Self)
    }

    /// The 8 hex digits, without allocating.
    pub fn to_ascii(self) -> [u8; 8] {
        hex::of_u32(self.0)
    }
}

impl fmt::Display for AffinityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for AffinityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an affinity key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an affinity key is exactly 8 lower-case hex digits")]
pub struct InvalidAffinityKey;

impl FromStr for AffinityKey {
    type Err = InvalidAffinityKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_bytes(text.as_bytes()).ok_or(InvalidAffinityKey)
    }
}

impl Serialize for AffinityKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AffinityKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why the request went to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The key's home served it.
    Home,
    /// The key was minted with this request, and its home served it.
    New,
    /// The home was down, ejected, or failed to connect: the next in rank served it.
    Failover,
    /// The home was over its load bound: the next in rank served it.
    Spilled,
    /// The client sent a malformed key; a new one was minted.
    Invalid,
    /// The pool uses round robin.
    Off,
}

impl Verdict {
    /// Every verdict, in the order of the definition.
    pub const ALL: [Self; 6] =
        [Self::Home, Self::New, Self::Failover, Self::Spilled, Self::Invalid, Self::Off];

    /// The name in headers, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::New => "new",
            Self::Failover => "failover",
            Self::Spilled => "spilled",
            Self::Invalid => "invalid",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A short fingerprint of a pool's membership. Gateways with the same members have the same epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, JsonSchema)]
pub struct Epoch(#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{8}$"))] u32);

impl Epoch {
    /// The epoch with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The 8 hex digits, without allocating.
    pub fn to_ascii(self) -> [u8; 8] {
        hex::of_u32(self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = hex::decode(text.as_bytes())
            .ok_or_else(|| serde::de::Error::custom("an epoch is 8 hex digits"))?;
        Ok(Self(u32::from_be_bytes(bytes)))
    }
}

/// The value of the `X-Affinity` response header: `<verdict>; key=<key>; epoch=<epoch>`.
///
/// The key is absent for a pool that tracks none (a stateless pool under round robin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingStamp {
    /// Why the request went to its instance.
    pub verdict: Verdict,
    /// The client's affinity key.
    pub key: Option<AffinityKey>,
    /// The membership at the decision.
    pub epoch: Epoch,
}

impl RoutingStamp {
    /// The text of `Display` in one allocation, for the hot path.
    pub fn to_ascii(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(48);
        text.extend_from_slice(self.verdict.as_str().as_bytes());
        if let Some(key) = self.key {
            text.extend_from_slice(b"; key=");
            text.extend_from_slice(&key.to_ascii());
        }
        text.extend_from_slice(b"; epoch=");
        text.extend_from_slice(&self.epoch.to_ascii());
        text
    }
}

impl fmt::Display for RoutingStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict.as_str())?;
        if let Some(key) = self.key {
            write!(f, "; key={key}")?;
        }
        write!(f, "; epoch={}", self.epoch)
    }
}

/// The text is not an `X-Affinity` value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected '<verdict>; key=<key>; epoch=<epoch>'")]
pub struct InvalidStamp;

impl FromStr for RoutingStamp {
    type Err = InvalidStamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split("; ");
        let verdict = parts.next().ok_or(InvalidStamp)?;
        let verdict =
            Verdict::ALL.into_iter().find(|v| v.as_str() == verdict).ok_or(InvalidStamp)?;
        let (mut key, mut epoch) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("key", text)) => key = Some(text.parse().map_err(|_| InvalidStamp)?),
                Some(("epoch", text)) => {
                    epoch = hex::decode(text.as_bytes()).map(u32::from_be_bytes).map(Epoch)
                }
                _ => return Err(InvalidStamp),
            }
        }
        Ok(Self { verdict, key, epoch: epoch.ok_or(InvalidStamp)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() {
        let key = AffinityKey::from_bits(0x00ab_cdef);
        assert_eq!(key.to_string(), "00abcdef");
        assert_eq!(&key.to_ascii(), b"00abcdef");
        assert_eq!("00abcdef".parse(), Ok(key));
        for bad in ["", "00ABCDEF", "abcdef", "00abcdef0", "00abcdeg", " 0abcdef", "+0abcdef"] {
            assert_eq!(bad.parse::<AffinityKey>(), Err(InvalidAffinityKey), "{bad:?}");
        }
    }

    #[test]
    fn a_stamp_round_trips() {
        let epoch = Epoch::from_bits(0x1f);
        for verdict in Verdict::ALL {
            for key in [None, Some(AffinityKey::from_bits(7))] {
                let stamp = RoutingStamp { verdict, key, epoch };
                assert_eq!(stamp.to_string().parse(), Ok(stamp));
                assert_eq!(stamp.to_ascii(), stamp.to_string().into_bytes());
            }
        }
        assert_eq!("home; key=7; epoch=0000001f".parse::<RoutingStamp>(), Err(InvalidStamp));
    }

    #[test]
    fn a_verdict_has_the_same_name_in_json_and_in_headers() {
        for verdict in Verdict::ALL {
            assert_eq!(
                serde_json::to_string(&verdict).expect("serializes"),
                format!("\"{verdict}\"")
            );
        }
    }
}
