//! The session id: an affinity key and a secret.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::affinity::AffinityKey;
use crate::hex;

/// `<affinity key>-<32 hex digits>`: the key that routes to the session's home, and 128 random
/// bits.
///
/// The id is a bearer secret. It has no `Display`, and `Debug` shows only the [`SessionDigest`].
/// [`SessionId::expose`] and serialization reveal it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId {
    key: AffinityKey,
    secret: [u8; 16],
}

impl SessionId {
    /// Length of the text, in bytes.
    pub const LEN: usize = 8 + 1 + 32;

    /// A new id; the secret comes from the thread's cryptographic generator.
    pub fn generate(key: AffinityKey) -> Self {
        Self { key, secret: rand::random() }
    }

    /// The secret must be derived from something at least as hard to guess.
    pub const fn from_parts(key: AffinityKey, secret: [u8; 16]) -> Self {
        Self { key, secret }
    }

    /// The secret, to derive from it or to store it encrypted.
    pub const fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// The key that routes to the session's home.
    pub const fn affinity_key(&self) -> AffinityKey {
        self.key
    }

    /// The whole id, only for the client that owns it.
    pub fn expose(&self) -> String {
        self.to_ascii().map(char::from).into_iter().collect()
    }

    /// The whole id, on the stack.
    fn to_ascii(&self) -> [u8; Self::LEN] {
        let mut text = [b'-'; Self::LEN];
        text[..8].copy_from_slice(&self.key.to_ascii());
        hex::encode(&self.secret, &mut text[9..]);
        text
    }

    /// Identifies the session in logs, traces, metrics, Redis keys and dashboards.
    pub fn digest(&self) -> SessionDigest {
        let hash = Sha256::digest(self.to_ascii());
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        SessionDigest(first)
    }

    /// The affinity key of a well-formed id, which is all that the gateway's hot path needs.
    pub fn affinity_key_of(text: &[u8]) -> Option<AffinityKey> {
        Self::parse_bytes(text).map(|id| id.key)
    }

    fn parse_bytes(text: &[u8]) -> Option<Self> {
        let (key, rest) = text.split_at_checked(8)?;
        let secret = rest.strip_prefix(b"-")?;
        Some(Self { key: AffinityKey::parse_bytes(key)?, secret: hex::decode(secret)? })
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.digest())
    }
}

/// The text is not a session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 8 lower-case hex digits, a hyphen and 32 lower-case hex digits")]
pub struct InvalidSessionId;

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_bytes(text.as_bytes()).ok_or(InvalidSessionId)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_ascii();
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SessionId {
    fn schema_name() -> Cow<'static, str> {
        "SessionId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{32}$",
            "description": "A session's id, a secret: it grants access to the session.",
        })
    }
}

/// The first 128 bits of a session id's SHA-256, written as 32 hex digits. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionDigest([u8; 16]);

impl SessionDigest {
    /// Parses 32 lower-case hex digits.
    pub fn parse_bytes(text: &[u8]) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Display for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0badcafe-00112233445566778899aabbccddeeff";

    #[test]
    fn an_id_carries_the_key_of_its_creator() {
        let key = AffinityKey::from_bits(0x0bad_cafe);
        let id = SessionId::generate(key);
        assert_eq!(id.expose().parse(), Ok(id.clone()));
        assert_eq!(id.expose().len(), SessionId::LEN);
        assert_eq!(SessionId::affinity_key_of(id.expose().as_bytes()), Some(key));
    }

    #[test]
    fn malformed_ids_are_rejected() {
        let too_long = format!("{TEXT}0");
        let upper = TEXT.to_uppercase();
        for bad in [
            "",
            "x",
            "0badcafe",
            "0badcafe-",
            &TEXT[1..],
            &TEXT[..40],
            &too_long,
            &upper,
            "0badcafe_00112233445566778899aabbccddeeff",
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(InvalidSessionId), "{bad:?}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let id: SessionId = TEXT.parse().expect("well formed");
        let shown = format!("{id:?} {:?}", id.digest());
        assert!(!shown.contains("00112233"), "{shown}");
        assert_eq!(id.digest().to_string().len(), 32);
    }
}
