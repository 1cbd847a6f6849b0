//! Refresh tokens: secrets of which only a hash is stored.

use std::fmt;
use std::str::FromStr;

use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::hex;

/// What every refresh token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "rt_";
const BYTES: usize = 32;

/// 256 random bits. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; BYTES]);

impl RefreshToken {
    /// A new one.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; BYTES] {
        Sha256::digest(self.0).into()
    }

    /// Its successor, encrypted with this token, or a sealed one decrypted. Each token has one
    /// successor, so the pad is used once.
    pub fn seal(&self, successor: &Self) -> [u8; BYTES] {
        self.pad(&successor.0)
    }

    /// The successor that [`seal`](Self::seal) encrypted.
    pub fn open(&self, sealed: &[u8; BYTES]) -> Self {
        Self(self.pad(sealed))
    }

    fn pad(&self, text: &[u8; BYTES]) -> [u8; BYTES] {
        let pad = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), b"successor");
        std::array::from_fn(|i| text[i] ^ pad.as_ref()[i])
    }

    /// The text for the client that owns it.
    pub fn expose(&self) -> String {
        PREFIX.to_owned() + &hex::encode(&self.0)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

/// The text is not a refresh token. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a refresh token")]
pub struct MalformedRefreshToken;

impl FromStr for RefreshToken {
    type Err = MalformedRefreshToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).and_then(hex::decode);
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(MalformedRefreshToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips_and_hides_itself() {
        let token = RefreshToken::generate();
        assert_eq!(token.expose().parse(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "RefreshToken");
        let text = token.expose();
        for bad in ["", "rt_", &text[1..], &text[..66], &text.to_uppercase(), &(text.clone() + "0")]
        {
            assert_eq!(bad.parse::<RefreshToken>(), Err(MalformedRefreshToken), "{bad}");
        }
    }

    #[test]
    fn only_the_token_opens_its_successor() {
        let (token, successor) = (RefreshToken::generate(), RefreshToken::generate());
        let sealed = token.seal(&successor);
        assert_eq!(token.open(&sealed), successor);
        assert_ne!(RefreshToken::generate().open(&sealed), successor);
        assert_ne!(sealed, successor.hash());
    }
}
