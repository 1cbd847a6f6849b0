//! `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use proto_contracts::ErrorCode;

use crate::problem::ApiError;

/// The value of a conditional header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`
    Any,
    /// The listed tags, without quotes and without `W/`.
    ///
    /// Weak tags match like strong ones, although the RFC excludes them from `If-Match`: proxies
    /// that compress a response, such as Nginx, make its tag weak, and it still names one state.
    List(Vec<Vec<u8>>),
}

impl EntityTags {
    /// Parses a header, which may have several lines; `None` when it is absent.
    ///
    /// # Errors
    /// `invalid_entity_tag` if it is neither `*` nor a list of entity tags. Ignoring a malformed
    /// condition could overwrite what the client wants to protect.
    pub fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let mut lines = headers.get_all(name).map(HeaderValue::as_bytes);
        let Some(first) = lines.next() else { return Ok(None) };
        let rest: Vec<&[u8]> = lines.collect();
        let tags = if rest.is_empty() {
            parse(first)
        } else {
            parse(&[&[first], &rest[..]].concat().join(&b','))
        };
        let expected = format!(
            "{name} must be * or a list of entity tags in quotes, such as \"3-0123456789abcdef\"."
        );
        tags.map(Some).ok_or_else(|| ApiError::new(ErrorCode::InvalidEntityTag, expected))
    }

    /// Whether they match this tag of an existing state.
    pub fn include(&self, tag: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|listed| listed == tag),
        }
    }
}

fn parse(mut text: &[u8]) -> Option<EntityTags> {
    if text.trim_ascii() == b"*" {
        return Some(EntityTags::Any);
    }
    let mut tags = Vec::new();
    loop {
        // Empty list elements are ignored.
        text = text.trim_ascii_start();
        while let Some(rest) = text.strip_prefix(b",") {
            text = rest.trim_ascii_start();
        }
        if text.is_empty() {
            return if tags.is_empty() { None } else { Some(EntityTags::List(tags)) };
        }
        let opaque = text.strip_prefix(b"W/").unwrap_or(text).strip_prefix(b"\"")?;
        let end = opaque.iter().position(|&byte| byte == b'"')?;
        let (tag, rest) = (&opaque[..end], &opaque[end + 1..]);
        if tag.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        tags.push(tag.to_vec());
        text = rest.trim_ascii_start();
        if !text.is_empty() && !text.starts_with(b",") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_read() {
        for (text, tags) in [
            ("\"1-a\"", vec!["1-a"]),
            (" W/\"1-a\" ", vec!["1-a"]),
            ("\"1-a\",W/\"22-b\"", vec!["1-a", "22-b"]),
            (",, \"a,b\" , \"1-a\",", vec!["a,b", "1-a"]),
            ("\"\"", vec![""]),
            ("\"é\"", vec!["é"]),
        ] {
            let tags = tags.into_iter().map(|tag| tag.as_bytes().to_vec()).collect();
            assert_eq!(parse(text.as_bytes()), Some(EntityTags::List(tags)), "{text}");
        }
        assert_eq!(parse(b" * "), Some(EntityTags::Any));
    }

    #[test]
    fn malformed_lists_are_rejected() {
        for bad in [
            "",
            " ",
            ",",
            "x",
            "1-0123456789abcdef",
            "\"",
            "\"a",
            "a\"",
            "w/\"a\"",
            "W/a",
            "W/*",
            "\"a\" \"b\"",
        ]
        .into_iter()
        .chain([
            "\"a\"b",
            "*, \"a\"",
            "\"a\", *",
            "**",
            "\"a b\"",
            "\"a\tb\"",
            "W/ \"a\"",
            "\"a\";\"b\"",
        ]) {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
