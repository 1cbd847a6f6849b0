//! The key of a write that may be repeated.

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Identifies a write, so that a retry is not executed twice. The client generates it.
///
/// It is [`MIN_LEN`](Self::MIN_LEN) to [`MAX_LEN`](Self::MAX_LEN) visible ASCII characters, plain
/// or as a string of RFC 8941 (`"…"`, in which `\"` and `\\` stand for a quote and a backslash).
/// Both forms of a text are one key. A UUID is the same key in each of its spellings.
///
/// A request that repeats the key of another client's anonymous create receives that client's
/// session. So a key is as secret as a session id: it has no `Display`, and `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey(Identity);

/// The lengths differ, so no text can be chosen whose identity is that of a UUID.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// As the versions before other texts were accepted have it.
    Uuid([u8; 16]),
    /// The SHA-256 of any other text.
    Text([u8; 32]),
}

/// The content of a well-formed key.
enum Content<'a> {
    Uuid(Uuid),
    Plain(&'a [u8]),
    /// Between the quotes, with its escapes.
    Quoted(&'a [u8]),
}

impl IdempotencyKey {
    /// The fewest characters of a key, without quotes and escapes.
    pub const MIN_LEN: usize = 8;
    /// The most characters of a key, without quotes and escapes.
    pub const MAX_LEN: usize = 128;

    /// Parses a key; `None` when it is malformed. The nil and the max UUID are rejected: programs
    /// send them by mistake.
    pub fn parse_bytes(text: &[u8]) -> Option<Self> {
        Some(Self(match Content::parse(text)? {
            Content::Uuid(uuid) => Identity::Uuid(uuid.into_bytes()),
            Content::Plain(text) => Identity::Text(Sha256::digest(text).into()),
            Content::Quoted(escaped) => {
                let mut hash = Sha256::new();
                unescaped(escaped).for_each(|byte| hash.update([byte]));
                Identity::Text(hash.finalize().into())
            }
        }))
    }

    /// Whether [`IdempotencyKey::parse_bytes`] accepts the text, at less cost.
    pub fn is_well_formed(text: &[u8]) -> bool {
        Content::parse(text).is_some()
    }

    /// 16 bytes for a UUID, 32 for another text. The text cannot be restored from the latter, if
    /// it was random.
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Identity::Uuid(bytes) => bytes,
            Identity::Text(bytes) => bytes,
        }
    }
}

impl<'a> Content<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let Some(after_quote) = text.strip_prefix(b"\"") else {
            let fits = has_length(text.len()) && text.iter().all(u8::is_ascii_graphic);
            return if fits { Self::of(text, Self::Plain) } else { None };
        };
        let escaped = after_quote.strip_suffix(b"\"")?;
        let mut length = 0;
        let mut rest = escaped.iter();
        while let Some(byte) = rest.next() {
            match byte {
                b'\\' => {
                    rest.next().filter(|next| matches!(next, b'"' | b'\\'))?;
                }
                b'"' => return None,
                visible if visible.is_ascii_graphic() => {}
                _ => return None,
            }
            length += 1;
        }
        if has_length(length) { Self::of(escaped, Self::Quoted) } else { None }
    }

    fn of(text: &'a [u8], other: fn(&'a [u8]) -> Self) -> Option<Self> {
        match Uuid::try_parse_ascii(text) {
            Ok(uuid) if uuid.is_nil() || uuid.is_max() => None,
            Ok(uuid) => Some(Self::Uuid(uuid)),
            Err(_) => Some(other(text)),
        }
    }
}

fn has_length(characters: usize) -> bool {
    (IdempotencyKey::MIN_LEN..=IdempotencyKey::MAX_LEN).contains(&characters)
}

/// The characters of a valid string of RFC 8941.
fn unescaped(escaped: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = escaped.iter().copied();
    std::iter::from_fn(move || match bytes.next()? {
        b'\\' => bytes.next(),
        byte => Some(byte),
    })
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<IdempotencyKey> {
        let key = IdempotencyKey::parse_bytes(text.as_bytes());
        assert_eq!(IdempotencyKey::is_well_formed(text.as_bytes()), key.is_some(), "{text:?}");
        key
    }

    #[test]
    fn plain_and_quoted_texts_are_one_key() {
        let longest = "k".repeat(128);
        for (plain, quoted) in [
            ("order-42", "\"order-42\"".to_owned()),
            (r#"say:"hi""#, r#""say:\"hi\"""#.to_owned()),
            (r"back\slash", r#""back\\slash""#.to_owned()),
            (longest.as_str(), format!("\"{longest}\"")),
            (
                "00112233-4455-6677-8899-aabbccddeeff",
                "\"00112233-4455-6677-8899-aabbccddeeff\"".to_owned(),
            ),
        ] {
            let one = key(plain).unwrap_or_else(|| panic!("{plain} is a key"));
            assert_eq!(key(&quoted), Some(one), "{quoted}");
        }
        assert_ne!(key("order-42"), key("order-43"));
        assert_ne!(key("order-42"), key("Order-42"));
    }

    #[test]
    fn a_uuid_is_its_16_bytes_in_each_spelling() {
        let id = key("00112233-4455-6677-8899-aabbccddeeff").expect("a UUID");
        assert_eq!(key("00112233445566778899AABBCCDDEEFF"), Some(id));
        let bytes: [u8; 16] = std::array::from_fn(|i| 0x11 * u8::try_from(i).expect("small"));
        assert_eq!(id.as_bytes(), bytes);
        // A text whose characters are a UUID's bytes is another key.
        let text = key("AAAAAAAAAAAAAAAA").expect("a key");
        assert_ne!(key("41414141-4141-4141-4141-414141414141"), Some(text));
        assert_eq!(text.as_bytes().len(), 32);
    }

    #[test]
    fn malformed_keys_are_rejected() {
        let long = "k".repeat(129);
        let (nil, max) = (Uuid::nil().to_string(), Uuid::max().to_string());
        for bad in [
            "",
            "1234567",
            &long,
            &nil,
            &max,
            &format!("\"{nil}\""),
            &format!("\"{long}\""),
            "two words",
            " order-42",
            "order-42 ",
            "order-42\t",
            "bestellung-ü",
            "\"1234567\"",
            "\"order-42",
            "\"order\"-42\"",
            "\"order 42\"",
            r#""order\-42""#,
            r#""order-42\""#,
            "\"order-42\";a=1",
            "\"order-42\", \"order-43\"",
            "\"",
            "\"\"",
        ] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn debug_hides_the_key() {
        let key = key("order-42").expect("a key");
        assert_eq!(format!("{key:?}"), "IdempotencyKey");
    }
}
