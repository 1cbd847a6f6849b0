//! A short digest for values that are compared but never restored.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The first 128 bits of a SHA-256, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortDigest([u8; 16]);

impl ShortDigest {
    /// The digest of these parts for this purpose. Digests of other purposes, or of differently
    /// split parts, differ.
    pub fn of(purpose: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash = hash.finalize();
        Self(std::array::from_fn(|i| hash[i]))
    }

    /// Parses the 32 lower-case hex digits of a digest.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        // `from_str_radix` also accepts other spellings.
        (digest.to_string() == text).then_some(digest)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_differ_by_purpose_and_split() {
        let all = [
            ShortDigest::of("a", &[]),
            ShortDigest::of("b", &[]),
            ShortDigest::of("a", &[b""]),
            ShortDigest::of("a", &[b"xy"]),
            ShortDigest::of("a", &[b"x", b"y"]),
            ShortDigest::of("ax", &[b"y"]),
        ];
        let different: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(different.len(), all.len());
        assert!(different.iter().all(|text| text.len() == 32));
        for (digest, text) in all.iter().map(|digest| (digest, digest.to_string())) {
            assert_eq!(ShortDigest::parse(&text), Some(*digest));
            assert_eq!(
                ShortDigest::parse(&text[1..]).or(ShortDigest::parse(&format!("+{}", &text[1..]))),
                None
            );
        }
    }
}
