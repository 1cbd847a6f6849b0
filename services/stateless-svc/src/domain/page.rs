//! Keyset pagination: a page begins after an id.

use std::fmt;
use std::str::FromStr;

use super::hex;

/// A position after the item with this id. Its text is hexadecimal, since it is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor<Id>(pub Id);

impl<Id: fmt::Display> fmt::Display for Cursor<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_string().as_bytes()))
    }
}

/// The text is not a cursor of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`cursor` must be the `next_cursor` of the previous page")]
pub struct InvalidCursor;

impl<Id: FromStr> FromStr for Cursor<Id> {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = hex::decode(text).and_then(|bytes| String::from_utf8(bytes).ok());
        id.and_then(|id| id.parse().ok()).map(Self).ok_or(InvalidCursor)
    }
}

/// Cuts a page from a query for one item more than it holds. The cursor is the start of the next
/// page, if there is one.
pub fn cut<T, Id>(
    mut items: Vec<T>,
    limit: u32,
    id: impl Fn(&T) -> Id,
) -> (Vec<T>, Option<Cursor<Id>>) {
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| has_more).map(|last| Cursor(id(last)));
    (items, next)
}
