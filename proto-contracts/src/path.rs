//! Canonical paths, for routing in the gateway and in the services.
//!
//! Two spellings of one path (RFC 3986, section 6.2.2) must never reach two endpoints. If a gateway
//! resolved the raw path and a service the decoded one, the wrong limits, timeouts and affinity key
//! would apply. [`canonical`] normalizes each path or rejects it, and proxies forward the canonical
//! form.

use std::borrow::Cow;

use crate::error::ErrorCode;

/// The longest path, in bytes as sent. Also the gateway's default limit for a whole target.
pub const MAX_BYTES: usize = 8 * 1024;

/// Why a path is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathFault {
    /// A byte that is illegal in paths, such as a backslash, a space, a control byte or one beyond
    /// ASCII.
    #[error("The path has an illegal byte; escape it as %XX.")]
    IllegalByte,
    /// A `%` without two hex digits.
    #[error("A % in the path must be followed by two hex digits.")]
    BadEscape,
    /// An escaped slash or backslash: some servers decode it before splitting the path, others
    /// after.
    #[error("The path has an escaped slash or backslash (%2F, %5C), which is not allowed.")]
    EscapedSlash,
    /// An escaped control character, such as NUL.
    #[error("The path has an escaped control character, which is not allowed.")]
    EscapedControl,
    /// A segment `.` or `..`, plain or escaped.
    #[error("The path has a segment '.' or '..', plain or escaped; resolve it before sending.")]
    DotSegment,
    /// Escapes that don't decode to UTF-8.
    #[error("The escapes in the path must decode to UTF-8.")]
    NotUtf8,
    /// More than [`MAX_BYTES`].
    #[error("The path is longer than {MAX_BYTES} bytes.")]
    TooLong,
}

impl PathFault {
    /// The error code of the response.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLong => ErrorCode::UriTooLong,
            Self::IllegalByte
            | Self::BadEscape
            | Self::EscapedSlash
            | Self::EscapedControl
            | Self::DotSegment
            | Self::NotUtf8 => ErrorCode::BadRequest,
        }
    }
}

/// The canonical form of a path, borrowed when the path has it already.
///
/// Escaped unreserved characters are decoded, and other escapes get upper-case digits. Illegal
/// characters that browsers send (`[ ] ^ { | }`) are escaped. Empty segments stay: they match no
/// template.
///
/// # Errors
/// When the path is illegal or ambiguous.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if path.len() > MAX_BYTES {
        return Err(PathFault::TooLong);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let normalized = normalized(path.as_bytes())?;
    if normalized.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(PathFault::DotSegment);
    }
    if decoded_bytes(normalized.as_bytes(), |text| text.chars().any(char::is_control))
        .ok_or(PathFault::NotUtf8)?
    {
        return Err(PathFault::EscapedControl);
    }
    Ok(if normalized == path { Cow::Borrowed(path) } else { Cow::Owned(normalized) })
}

/// Decodes a segment of a canonical path, once.
pub fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    // Canonical paths decode to UTF-8.
    decoded_bytes(segment.as_bytes(), str::to_owned).map_or(Cow::Borrowed(segment), Cow::Owned)
}

/// Whether the path is certainly [`canonical`]: not too long, and only letters, digits, `/`, `-`
/// and `_`.
///
/// This runs for every request, so the loop over a block has no branch and is vectorized.
pub fn is_plain(path: &[u8]) -> bool {
    const BLOCK: usize = 64;
    let mut others = 0_u8;
    let (blocks, rest) = path.as_chunks::<BLOCK>();
    let mut last = [b'/'; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for &byte in block {
            let letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
            let digit_or_slash = u8::from(byte.wrapping_sub(b'/') < 11);
            let sign = u8::from(byte == b'-') | u8::from(byte == b'_');
            others |= 1 - (letter | digit_or_slash | sign);
        }
    }
    others == 0 && path.len() <= MAX_BYTES
}

/// The path with normalized escapes.
fn normalized(path: &[u8]) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return Err(PathFault::BadEscape) };
                rest = tail;
                match digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low) {
                    None => return Err(PathFault::BadEscape),
                    Some(b'/' | b'\\') => return Err(PathFault::EscapedSlash),
                    Some(byte) if byte.is_ascii_control() => return Err(PathFault::EscapedControl),
                    Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
                    Some(byte) => push_escaped(&mut out, byte),
                }
            }
            b'[' | b']' | b'^' | b'{' | b'|' | b'}' => push_escaped(&mut out, *byte),
            b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' => {
                out.push(char::from(*byte));
            }
            byte if is_unreserved(*byte) => out.push(char::from(*byte)),
            _ => return Err(PathFault::IllegalByte),
        }
    }
    Ok(out)
}

/// Decodes a normalized path and calls `then` with the text; `None` when it is not UTF-8.
fn decoded_bytes<T>(path: &[u8], then: impl FnOnce(&str) -> T) -> Option<T> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let escape = match (byte, tail) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    std::str::from_utf8(&bytes).ok().map(then)
}

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_path_have_one_canonical_form() {
        for (path, expected) in [
            ("/%61pi/v1/stateless/inf%6F", "/api/v1/stateless/info"),
            ("/a/%7e%2D%5f%2ehidden", "/a/~-_.hidden"),
            ("/a%3fb%c3%a4", "/a%3Fb%C3%A4"),
            ("/a%2Bb+c", "/a%2Bb+c"),
            ("/%2565", "/%2565"),
            ("/%25%36%35", "/%2565"),
            ("/[{^|}]", "/%5B%7B%5E%7C%7D%5D"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
            assert_eq!(canonical(expected).as_deref(), Ok(expected), "it is canonical itself");
        }
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for path in [
            "/",
            "*",
            "",
            "/api/v1/stateful/sessions/0badcafe-0011",
            "//a//",
            "/openapi.json",
            "/a;b=c/%2525",
        ] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_rejected() {
        let long = format!("/{}", "a".repeat(MAX_BYTES));
        for (path, fault) in [
            ("/a/../b", PathFault::DotSegment),
            ("/a/.", PathFault::DotSegment),
            ("/./a", PathFault::DotSegment),
            ("/a/%2e%2E/b", PathFault::DotSegment),
            ("/a/.%2e", PathFault::DotSegment),
            ("/a%2Fb", PathFault::EscapedSlash),
            ("/a%5cb", PathFault::EscapedSlash),
            ("/a\\b", PathFault::IllegalByte),
            ("/a b", PathFault::IllegalByte),
            ("/\"a\"", PathFault::IllegalByte),
            ("/ä", PathFault::IllegalByte),
            ("/a?b", PathFault::IllegalByte),
            ("/a\n", PathFault::IllegalByte),
            ("/%00", PathFault::EscapedControl),
            ("/a%0A", PathFault::EscapedControl),
            ("/a%7F", PathFault::EscapedControl),
            ("/a%C2%85", PathFault::EscapedControl),
            ("/%", PathFault::BadEscape),
            ("/%4", PathFault::BadEscape),
            ("/%zz", PathFault::BadEscape),
            ("/%+1", PathFault::BadEscape),
            ("/%FF", PathFault::NotUtf8),
            ("/%C0%AF", PathFault::NotUtf8),
            ("/%C3", PathFault::NotUtf8),
            ("/%ED%A0%80", PathFault::NotUtf8),
            (&long, PathFault::TooLong),
        ] {
            assert_eq!(canonical(path), Err(fault), "{path}");
        }
        assert!(
            canonical("/...").is_ok()
                && canonical("/..a").is_ok()
                && canonical("/.well-known").is_ok()
        );
    }

    #[test]
    fn plain_paths_are_canonical() {
        for byte in 0..=127_u8 {
            let path = format!("/{}", char::from(byte));
            if is_plain(path.as_bytes()) {
                assert_eq!(normalized(path.as_bytes()).as_deref(), Ok(path.as_str()), "{byte}");
            }
        }
    }

    #[test]
    fn a_segment_is_decoded_once() {
        assert_eq!(decoded("p001"), "p001");
        assert_eq!(decoded("a%2Bb+c%C3%A4"), "a+b+cä");
        assert_eq!(decoded("%2565"), "%65");
        assert_eq!(decoded("100%"), "100%");
    }
}
