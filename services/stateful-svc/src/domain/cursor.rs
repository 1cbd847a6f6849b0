//! The position at which a page of history starts.

use std::fmt;
use std::ops::Range;

use proto_contracts::SessionDigest;
use proto_contracts::stateful::{DEFAULT_HISTORY_PAGE, MAX_HISTORY_PAGE};
use sha2::{Digest as _, Sha256};

/// The order in which a history is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

/// A position in a session's messages, and the side of it on which the page is.
///
/// To clients it is 16 opaque hex digits: the number, and a checksum over the number, the side and
/// the session. The checksum rejects invented cursors, those of other sessions and those of the
/// other order. It is no secret: its sender has access to the session anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The messages after the one of this number.
    After(u32),
    /// The messages before the one of this number.
    Before(u32),
}

impl Cursor {
    /// Before the first message.
    pub const START: Self = Self::After(0);
    /// After the last message.
    pub const END: Self = Self::Before(u32::MAX);

    /// The start of a history in this order.
    pub const fn first_in(order: Order) -> Self {
        match order {
            Order::OldestFirst => Self::START,
            Order::NewestFirst => Self::END,
        }
    }

    /// The position after the message of this number; `None` for a number that no session reaches.
    pub fn after(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self::After)
    }

    /// The position before the message of this number; `None` for a number that no session
    /// reaches.
    pub fn before(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self::Before)
    }

    /// The number of the message at this position; 0 at the start.
    pub fn number(self) -> u64 {
        let (Self::After(number) | Self::Before(number)) = self;
        number.into()
    }

    /// The indexes of the page's messages, in a session with this many.
    pub fn page(self, size: PageSize, message_count: usize) -> Range<usize> {
        let (number, size) = (usize::try_from(self.number()), size.messages() as usize);
        let number = number.unwrap_or(usize::MAX);
        match self {
            Self::After(_) => {
                let start = number.min(message_count);
                start..start.saturating_add(size).min(message_count)
            }
            Self::Before(_) => {
                let end = number.saturating_sub(1).min(message_count);
                end.saturating_sub(size)..end
            }
        }
    }

    /// Decodes the text of [`Cursor::encode`] for the same session and order.
    ///
    /// # Errors
    /// The text is not a cursor of this session in this order.
    pub fn decode(session: SessionDigest, order: Order, text: &str) -> Result<Self, InvalidCursor> {
        let number =
            text.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or(InvalidCursor)?;
        let cursor = match order {
            Order::OldestFirst => Self::After(number),
            Order::NewestFirst => Self::Before(number),
        };
        if cursor.encode(session) == text { Ok(cursor) } else { Err(InvalidCursor) }
    }

    /// The cursor for clients of this session.
    pub fn encode(self, session: SessionDigest) -> String {
        let (side, number) = match self {
            // As before there were two orders.
            Self::After(number) => ("", number),
            Self::Before(number) => ("before ", number),
        };
        let hash = Sha256::digest(format!("history cursor {side}{session} {number}"));
        let [a, b, c, d] = std::array::from_fn(|i| hash[i]);
        format!("{number:08x}{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::START
    }
}

/// The text is not a cursor of this session in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not the next_cursor of a page of this session in this order")]
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

    const ASC: Order = Order::OldestFirst;
    const DESC: Order = Order::NewestFirst;

    #[test]
    fn a_page_is_next_to_its_position() {
        let size = PageSize::parse(2).expect("a size");
        for (cursor, page) in [
            (Cursor::START, 0..2),
            (Cursor::After(4), 4..5),
            (Cursor::After(5), 5..5),
            (Cursor::After(9), 5..5),
            (Cursor::END, 3..5),
            (Cursor::Before(6), 3..5),
            (Cursor::Before(4), 1..3),
            (Cursor::Before(2), 0..1),
            (Cursor::Before(1), 0..0),
            (Cursor::Before(0), 0..0),
        ] {
            assert_eq!(cursor.page(size, 5), page, "{cursor:?}");
        }
        assert_eq!(Cursor::END.page(size, 0), 0..0);
    }

    #[test]
    fn a_cursor_round_trips_in_its_own_session_alone() {
        let [mine, other] =
            [1, 2].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        for number in [0, 1, 50, 10_000, u64::from(u32::MAX)] {
            let cursor = Cursor::after(number).expect("fits");
            let text = cursor.encode(mine);
            assert_eq!(Cursor::decode(mine, ASC, &text), Ok(cursor));
            assert_eq!(Cursor::decode(mine, DESC, &text), Err(InvalidCursor));
            assert_eq!(Cursor::decode(other, ASC, &text), Err(InvalidCursor));
            assert_eq!(
                Cursor::decode(mine, ASC, &text.to_uppercase().replace('0', "O")),
                Err(InvalidCursor)
            );
            let before = Cursor::before(number).expect("fits");
            let text = before.encode(mine);
            assert_eq!(Cursor::decode(mine, DESC, &text), Ok(before));
            assert_eq!(Cursor::decode(mine, ASC, &text), Err(InvalidCursor));
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
            assert_eq!(Cursor::decode(mine, ASC, bad), Err(InvalidCursor), "{bad:?}");
        }
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert!(PageSize::parse(1).is_ok() && PageSize::parse(MAX_HISTORY_PAGE).is_ok());
        assert!(PageSize::parse(0).is_err() && PageSize::parse(MAX_HISTORY_PAGE + 1).is_err());
    }
}
