//! The tag of a session's state: the write that produced it.

use std::fmt;
use std::str::FromStr;

use proto_contracts::hex;

/// Distinguishes writes that produced the same version: after a failover that lost a write, the
/// next write gets the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteNonce(u64);

impl WriteNonce {
    /// A fresh nonce.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for WriteNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&hex::of_u64(self.0)).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for WriteNonce {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let nonce = u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidTag)?;
        if nonce.to_string() == text { Ok(nonce) } else { Err(InvalidTag) }
    }
}

/// Identifies the write that produced a state: `<version>-<nonce>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTag {
    pub version: u64,
    pub nonce: WriteNonce,
}

impl SessionTag {
    /// The tag in quotes, as an `ETag` has it. Without the formatter, since each read has one.
    pub fn in_quotes(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(40);
        text.push(b'"');
        text.extend_from_slice(itoa::Buffer::new().format(self.version).as_bytes());
        text.push(b'-');
        text.extend_from_slice(&hex::of_u64(self.nonce.0));
        text.push(b'"');
        text
    }
}

impl fmt::Display for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.version, self.nonce)
    }
}

/// The text is not a [`SessionTag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session tag")]
pub struct InvalidTag;

impl FromStr for SessionTag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let (version, nonce) = text.split_once('-').ok_or(InvalidTag)?;
        let tag = Self { version: version.parse().map_err(|_| InvalidTag)?, nonce: nonce.parse()? };
        if tag.to_string() == text { Ok(tag) } else { Err(InvalidTag) }
    }
}

/// The precondition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// The state must have one of these tags; an empty list never matches.
    OneOf(Vec<SessionTag>),
    /// The state must have none of these tags.
    NoneOf(Vec<SessionTag>),
}

impl Expected {
    /// Whether a state with this tag satisfies the precondition.
    pub fn allows(&self, tag: SessionTag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.contains(&tag),
            Self::NoneOf(tags) => !tags.contains(&tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_one_spelling() {
        let tag = SessionTag { version: 7, nonce: WriteNonce(0xab) };
        assert_eq!(tag.to_string(), "7-00000000000000ab");
        assert_eq!(tag.in_quotes(), b"\"7-00000000000000ab\"");
        assert_eq!(tag.to_string().parse(), Ok(tag));
        for bad in [
            "",
            "7",
            "7-",
            "-00000000000000ab",
            "07-00000000000000ab",
            "+7-00000000000000ab",
            "7-ab",
        ] {
            assert_eq!(bad.parse::<SessionTag>(), Err(InvalidTag), "{bad:?}");
        }
        assert_eq!("7-00000000000000AB".parse::<SessionTag>(), Err(InvalidTag));
        assert_eq!("7-+0000000000000ab".parse::<SessionTag>(), Err(InvalidTag));
    }

    #[test]
    fn preconditions_compare_version_and_nonce() {
        let tag = |version| SessionTag { version, nonce: WriteNonce(1) };
        assert!(Expected::Any.allows(tag(1)));
        assert!(Expected::OneOf(vec![tag(1), tag(2)]).allows(tag(2)));
        assert!(
            !Expected::OneOf(vec![tag(1)]).allows(SessionTag { version: 1, nonce: WriteNonce(2) })
        );
        assert!(!Expected::OneOf(Vec::new()).allows(tag(1)));
        assert!(
            Expected::NoneOf(vec![tag(1)]).allows(tag(2))
                && !Expected::NoneOf(vec![tag(1)]).allows(tag(1))
        );
    }
}
