//! The sessions of one user.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use proto_contracts::stateful::{DEFAULT_SESSIONS_PAGE, MAX_SESSIONS_PAGE};
use proto_contracts::{AffinityKey, SessionDigest};

/// An entry of the index of a user's sessions. It is added before its session exists, so the
/// session may not exist yet, or may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedEntry {
    pub session: SessionDigest,
    /// The key that routes to the session's home.
    pub affinity: AffinityKey,
    /// When the entry was added, or renewed by a repeated create.
    pub added_at: Timestamp,
}

impl OwnedEntry {
    /// The position of this entry among those of its owner.
    pub const fn position(&self) -> OwnedCursor {
        OwnedCursor { added_at: self.added_at, session: self.session }
    }

    /// Newest first.
    pub fn sort(entries: &mut [Self]) {
        entries.sort_unstable_by(|a, b| {
            b.added_at.cmp(&a.added_at).then_with(|| a.session.cmp(&b.session))
        });
    }
}

/// A live session of a user, as a list shows it: without its id, which no store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedSession {
    pub entry: OwnedEntry,
    pub created_at: Timestamp,
    /// The time of the last write.
    pub last_activity: Timestamp,
    pub expires_at: Timestamp,
    pub message_count: u64,
    pub version: u64,
}

/// A position in a user's list of sessions. To clients it is the text of its `Display`; it reveals
/// nothing that the list does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedCursor {
    added_at: Timestamp,
    session: SessionDigest,
}

impl OwnedCursor {
    /// Whether the entry comes after this position, newest first.
    pub fn is_before(&self, entry: &OwnedEntry) -> bool {
        (entry.added_at, self.session) < (self.added_at, entry.session)
    }
}

impl fmt::Display for OwnedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.added_at.as_millisecond(), self.session)
    }
}

impl FromStr for OwnedCursor {
    type Err = InvalidOwnedCursor;

    fn from_str(text: &str) -> Result<Self, InvalidOwnedCursor> {
        let (added_at, session) = text.split_once('-').ok_or(InvalidOwnedCursor)?;
        let added_at = added_at.parse().map_err(|_| InvalidOwnedCursor)?;
        let added_at = Timestamp::from_millisecond(added_at).map_err(|_| InvalidOwnedCursor)?;
        let session = SessionDigest::parse_bytes(session.as_bytes()).ok_or(InvalidOwnedCursor)?;
        let cursor = Self { added_at, session };
        if cursor.to_string() == text { Ok(cursor) } else { Err(InvalidOwnedCursor) }
    }
}

/// The text is not an [`OwnedCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not the next_cursor of a page of sessions")]
pub struct InvalidOwnedCursor;

/// How many sessions a page may hold: 1 to [`MAX_SESSIONS_PAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedPageSize(u32);

impl OwnedPageSize {
    /// A page of this size; `None` for an invalid one.
    pub fn parse(sessions: u32) -> Option<Self> {
        (1..=MAX_SESSIONS_PAGE).contains(&sessions).then_some(Self(sessions))
    }

    /// The maximum number of sessions.
    pub const fn sessions(self) -> usize {
        self.0 as usize
    }
}

impl Default for OwnedPageSize {
    fn default() -> Self {
        Self(DEFAULT_SESSIONS_PAGE)
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::SessionId;

    use super::*;

    fn entry(second: i64) -> OwnedEntry {
        let affinity = AffinityKey::from_bits(1);
        let added_at = Timestamp::from_second(second).expect("in range");
        OwnedEntry { session: SessionId::generate(affinity).digest(), affinity, added_at }
    }

    #[test]
    fn a_cursor_divides_the_list_in_its_order() {
        let mut entries = [entry(3), entry(1), entry(2), entry(2), entry(2)];
        OwnedEntry::sort(&mut entries);
        assert_eq!(entries[0].added_at.as_second(), 3);
        for (at, entry) in entries.iter().enumerate() {
            let cursor: OwnedCursor = entry.position().to_string().parse().expect("a cursor");
            assert_eq!(cursor, entry.position());
            let after = entries.iter().map(|other| cursor.is_before(other)).collect::<Vec<_>>();
            let expected = (0..entries.len()).map(|other| other > at).collect::<Vec<_>>();
            assert_eq!(after, expected, "after {at}");
        }
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        let good = entry(5).position().to_string();
        for bad in ["", "-", "5", &good[1..], &format!("+{good}"), &format!("{good}0")] {
            assert!(bad.parse::<OwnedCursor>().map_or(true, |cursor| cursor.to_string() != good));
        }
        assert!(good.to_uppercase().parse::<OwnedCursor>().is_err() || good == good.to_uppercase());
        assert!(format!("0{good}").parse::<OwnedCursor>().is_err());
    }
}
