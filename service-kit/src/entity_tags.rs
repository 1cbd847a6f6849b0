//! `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1), read alike by every endpoint.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use proto_contracts::ErrorCode;

use crate::problem::ApiError;

/// What a header with entity tags says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`
    Any,
    /// The listed tags, without quotes and without `W/`.
    ///
    /// "Weak" makes no difference, although the RFC never lets a weak tag match in `If-Match`. Proxies that compress a
    /// response (Nginx among them) make its tag weak, and the tag still names the one state.
    List(Vec<Vec<u8>>),
}

impl EntityTags {
    /// Reads a header, which may be spread over several lines; `None` when it is absent.
    ///
    /// # Errors
    /// `invalid_entity_tag` when it is neither `*` nor a list of entity tags. Passing over a condition that cannot be read
    /// would do what the client wanted to prevent.
    pub fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let mut lines = headers.get_all(name).map(HeaderValue::as_bytes);
        let Some(first) = lines.next() else { return Ok(None) };
        let rest: Vec<&[u8]> = lines.collect();
        let tags = if rest.is_empty() { parse(first) } else { parse(&[&[first], &rest[..]].concat().join(&b',')) };
        let expected = format!("{name} must be * or a list of entity tags in quotes, such as \"3-0123456789abcdef\".");
        tags.map(Some).ok_or_else(|| ApiError::new(ErrorCode::InvalidEntityTag, expected))
    }

    /// Whether the state of this tag is among them. There is a state, so `*` includes it.
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
        // Empty elements of a list are passed over.
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
    fn what_is_no_list_of_tags_is_refused() {
        for bad in ["", " ", ",", "x", "1-0123456789abcdef", "\"", "\"a", "a\"", "w/\"a\"", "W/a", "W/*", "\"a\" \"b\""]
            .into_iter()
            .chain(["\"a\"b", "*, \"a\"", "\"a\", *", "**", "\"a b\"", "\"a\tb\"", "W/ \"a\"", "\"a\";\"b\""])
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
