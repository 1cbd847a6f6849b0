//! The state of a session as HTTP names it: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).
//!
//! A tag names the write that the state comes from. `expires_at` moves on with each use and is not part of that state.

use actix_web::HttpResponse;
use actix_web::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;

use crate::domain::session_tag::{Expected, SessionTag};

/// Names the session's state on an answer that shows it.
pub(super) fn tell_tag(answer: &mut HttpResponse, tag: SessionTag) -> Result<(), ApiError> {
    let value = HeaderValue::from_str(&format!("\"{tag}\"")).map_err(ApiError::internal)?;
    answer.headers_mut().insert(ETAG, value);
    Ok(())
}

/// In which states the client wants its write to be made: in any, unless it says so.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match entity_tags(headers, &IF_MATCH)? {
        None | Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// Which states the client holds already: none, unless it says so.
pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match entity_tags(headers, &IF_NONE_MATCH)? {
        None => Expected::OneOf(Vec::new()),
        Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// What a header with entity tags says.
#[derive(Debug, PartialEq)]
enum Tags {
    /// `*`
    Any,
    /// Those of the listed tags that a session can have.
    List(Vec<SessionTag>),
}

/// The tags of a header, which may be spread over several lines.
fn entity_tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let lines: Vec<&[u8]> = headers.get_all(name).map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let tags = parse(&lines.join(&b','));
    let expected = format!("{name} must be * or a list of entity tags in quotes, such as \"3-0123456789abcdef\".");
    tags.map(Some).ok_or_else(|| ApiError::new(ErrorCode::InvalidEntityTag, expected))
}

fn parse(mut text: &[u8]) -> Option<Tags> {
    if text.trim_ascii() == b"*" {
        return Some(Tags::Any);
    }
    let (mut tags, mut tags_seen) = (Vec::new(), 0_u32);
    loop {
        // Empty elements of a list are passed over.
        text = text.trim_ascii_start();
        while let Some(rest) = text.strip_prefix(b",") {
            text = rest.trim_ascii_start();
        }
        if text.is_empty() {
            return (tags_seen > 0).then_some(Tags::List(tags));
        }
        // "Weak" makes no difference here, although the RFC never lets it match in If-Match: proxies that compress an answer
        // on its way (Nginx among them) make its tag weak, and the tag still names the one write.
        let opaque = text.strip_prefix(b"W/").unwrap_or(text).strip_prefix(b"\"")?;
        let end = opaque.iter().position(|&byte| byte == b'"')?;
        let (tag, rest) = (&opaque[..end], &opaque[end + 1..]);
        if tag.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        tags_seen += 1;
        tags.extend(str::from_utf8(tag).ok().and_then(|tag| tag.parse::<SessionTag>().ok()));
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
        let tag = |text: &str| text.parse::<SessionTag>().expect("a tag");
        let (a, b) = (tag("1-0123456789abcdef"), tag("22-fedcba9876543210"));
        for (text, tags) in [
            ("\"1-0123456789abcdef\"", vec![a]),
            (" W/\"1-0123456789abcdef\" ", vec![a]),
            ("\"1-0123456789abcdef\",W/\"22-fedcba9876543210\"", vec![a, b]),
            (",, \"a,b\" , \"1-0123456789abcdef\",", vec![a]),
            ("\"\"", vec![]),
            ("\"é\", \"01-0123456789abcdef\"", vec![]),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Tags::List(tags)), "{text}");
        }
        assert_eq!(parse(b" * "), Some(Tags::Any));
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
