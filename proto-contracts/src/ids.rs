//! Instance and deployment names, request and message ids.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The stable name of an instance, independent of its address. Every response carries it in
/// `X-Instance-Id`. The sticky strategy hashes this name, never an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct InstanceName(
    #[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9._-]{1,63}$"))] Arc<str>,
);

impl InstanceName {
    /// The longest name, in bytes: the limit of a DNS label, so container and pod names fit.
    pub const MAX_LEN: usize = 63;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not an instance name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an instance name is 1 to 63 letters, digits, '.', '_' or '-'")]
pub struct InvalidInstanceName;

impl FromStr for InstanceName {
    type Err = InvalidInstanceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let plain =
            text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits && plain { Ok(Self(text.into())) } else { Err(InvalidInstanceName) }
    }
}

impl Serialize for InstanceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for InstanceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of a deployment, which groups gateways and instances. Same syntax as [`InstanceName`].
#[derive(Clone, PartialEq, Eq)]
pub struct DeploymentName(InstanceName);

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a deployment name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a deployment is 1 to 63 letters, digits, '.', '_' or '-'")]
pub struct InvalidDeploymentName;

impl FromStr for DeploymentName {
    type Err = InvalidDeploymentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| InvalidDeploymentName)
    }
}

/// Identifies a request in logs and responses. The gateway generates a UUID v7, unless a trusted
/// proxy or the client sent a UUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RequestId(#[schemars(with = "String", extend("format" = "uuid"))] Uuid);

impl RequestId {
    /// A fresh, time-ordered id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses a UUID, with or without hyphens; `None` for any other text.
    pub fn parse_bytes(text: &[u8]) -> Option<Self> {
        Uuid::try_parse_ascii(text).ok().map(Self)
    }

    /// The hyphenated form.
    pub fn to_ascii(self) -> [u8; 36] {
        let mut text = [0; 36];
        self.0.hyphenated().encode_lower(&mut text);
        text
    }
}

impl From<RequestId> for Uuid {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl From<Uuid> for RequestId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Identifies a message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MessageId(#[schemars(with = "String", extend("format" = "uuid"))] Uuid);

impl MessageId {
    /// A fresh, time-ordered id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_names_fit_a_header_and_a_label() {
        for good in ["stateful-1", "a", "8f0c2d1e9b7a", "pod.0_x", &"n".repeat(63)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good:?}");
        }
        for bad in ["", "a b", "a\n", "a/b", "ä", "a;b", &"n".repeat(64)] {
            assert_eq!(bad.parse::<InstanceName>(), Err(InvalidInstanceName), "{bad:?}");
        }
    }

    #[test]
    fn a_request_id_is_a_uuid_in_one_spelling() {
        let id = RequestId::parse_bytes(b"00112233445566778899AABBCCDDEEFF").expect("simple form");
        assert_eq!(id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(&id.to_ascii()[..], id.to_string().as_bytes());
        assert_eq!(RequestId::parse_bytes(b"not-a-uuid"), None);
    }
}
