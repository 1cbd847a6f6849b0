//! Codes of invitations: secrets of which only a hash is stored.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::hex;

/// What every code begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "inv_";
const BYTES: usize = 32;

/// 256 random bits. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationCode([u8; BYTES]);

impl InvitationCode {
    /// A new one.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; BYTES] {
        Sha256::digest(self.0).into()
    }

    /// The text for the user who is invited.
    pub fn expose(&self) -> String {
        PREFIX.to_owned() + &hex::encode(&self.0)
    }
}

impl fmt::Debug for InvitationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationCode")
    }
}

/// The text is not a code. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the code of an invitation")]
pub struct MalformedCode;

impl FromStr for InvitationCode {
    type Err = MalformedCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).and_then(hex::decode);
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(MalformedCode)
    }
}

/// An invitation, as it is handed out once.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub code: InvitationCode,
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_round_trips_and_hides_itself() {
        let code = InvitationCode::generate();
        let text = code.expose();
        assert_eq!(text.parse(), Ok(code.clone()));
        assert_eq!(format!("{code:?}"), "InvitationCode");
        assert_ne!(InvitationCode::generate().hash(), code.hash());
        for bad in
            ["", "inv_", &text[1..], &text[..67], &text.to_uppercase(), &(text.clone() + "0")]
        {
            assert_eq!(bad.parse::<InvitationCode>(), Err(MalformedCode), "{bad}");
        }
    }
}
