//! The position at which a page of history starts.

use std::fmt;

use proto_contracts::SessionDigest;
use proto_contracts::stateful::{DEFAULT_HISTORY_PAGE, MAX_HISTORY_PAGE};
use sha2::{Digest as _, Sha256};

/// The position after a session's n-th message.
///
/// To clients it is 16 opaque hex digits: the number, and a checksum over the number and the
/// session. The checksum rejects invented cursors and those of other sessions. It is no secret: its
/// sender has access to the session anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    after: u32,
}

impl Cursor {
    /// Before the first message.
    pub const START: Self = Self { after: 0 };

    /// The position after the message of this number; `None` for a number that no session reaches.
    pub fn after(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(|after| Self { after })
    }

    /// The number of the message before this position; 0 at the start.
    pub fn number(self) -> u64 {
        self.after.into()
    }

    /// Decodes the text of [`Cursor::encode`] for the same session.
    ///
    /// # Errors
    /// The text is not a cursor of this session.
    pub fn decode(session: SessionDigest, text: &str) -> Result<Self, InvalidCursor> {
        let number =
            text.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or(InvalidCursor)?;
        let cursor = Self { after: number };
        if cursor.encode(session) == text { Ok(cursor) } else { Err(InvalidCursor) }
    }

    /// The cursor for clients of this session.
    pub fn encode(self, session: SessionDigest) -> String {
        let hash = Sha256::digest(format!("history cursor {session} {}", self.after));
        let [a, b, c, d] = std::array::from_fn(|i| hash[i]);
        format!("{:08x}{:08x}", self.after, u32::from_be_bytes([a, b, c, d]))
    }
}

/// The text is not a cursor of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cursor must be the next_cursor of the previous page; omit it to start with the oldest \
     message"
)]
pub struct InvalidCursor;

/// How many messages a page may hold: 1 to [`MAX_HISTORY_PAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// Validates a requested size.
    ///
    /// # Errors
    /// It is 0 or more than [`MAX_HISTORY_PAGE`].
    pub fn parse(messages: u32) -> Result<Self, InvalidPageSize> {
        if (1..=MAX_HISTORY_PAGE).contains(&messages) {
            Ok(Self(messages))
        } else {
            Err(InvalidPageSize { messages })
        }
    }

    /// The number of messages.
    pub fn messages(self) -> u32 {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(DEFAULT_HISTORY_PAGE)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The page size is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit is {messages}; it must be 1 to {MAX_HISTORY_PAGE}")]
pub struct InvalidPageSize {
    pub messages: u32,
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};

    use super::*;

    #[test]
    fn a_cursor_round_trips_in_its_own_session_alone() {
        let [mine, other] =
            [1, 2].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        for number in [0, 1, 50, 10_000, u64::from(u32::MAX)] {
            let cursor = Cursor::after(number).expect("fits");
            let text = cursor.encode(mine);
            assert_eq!(Cursor::decode(mine, &text), Ok(cursor));
            assert_eq!(Cursor::decode(other, &text), Err(InvalidCursor));
            assert_eq!(
                Cursor::decode(mine, &text.to_uppercase().replace('0', "O")),
                Err(InvalidCursor)
            );
        }
        for bad in [
            "",
            "0",
            "00000001",
            "ééééééééé",
            "0000000100000000",
            "+000000100000000",
            &"f".repeat(1000),
        ] {
            assert_eq!(Cursor::decode(mine, bad), Err(InvalidCursor), "{bad:?}");
        }
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert!(PageSize::parse(1).is_ok() && PageSize::parse(MAX_HISTORY_PAGE).is_ok());
        assert!(PageSize::parse(0).is_err() && PageSize::parse(MAX_HISTORY_PAGE + 1).is_err());
    }
}
