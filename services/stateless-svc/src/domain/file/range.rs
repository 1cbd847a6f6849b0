//! `Range` (RFC 9110, section 14): one range of bytes.

use std::ops::Range;

/// What a request wants of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: there is no range, several, one of another unit or a malformed one.
    All,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// A range behind the end, or an empty one.
    Unsatisfiable,
}

impl Wanted {
    /// Of a content of this size. A header that cannot be used is ignored, as the RFC says.
    pub fn parse(header: &[u8], size: u64) -> Self {
        let Some((unit, set)) = std::str::from_utf8(header).ok().and_then(|h| h.split_once('='))
        else {
            return Self::All;
        };
        let spec = set.trim_matches([' ', '\t']);
        let Some((first, last)) = spec.split_once('-') else { return Self::All };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::All;
        }
        let range = match (first, last) {
            ("", suffix) => {
                let Some(length) = number(suffix) else { return Self::All };
                size.saturating_sub(length)..size
            }
            (first, "") => {
                let Some(first) = number(first) else { return Self::All };
                first..size
            }
            (first, last) => {
                let (Some(first), Some(last)) = (number(first), number(last)) else {
                    return Self::All;
                };
                if last < first {
                    return Self::All;
                }
                first..size.min(last.saturating_add(1))
            }
        };
        if range.is_empty() { Self::Unsatisfiable } else { Self::Part(range) }
    }
}

/// Digits alone; more than fit are as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        let huge = "bytes=0-99999999999999999999999999";
        for (header, size, wanted) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=0-9", 10, Wanted::Part(0..10)),
            ("bytes=9-9", 10, Wanted::Part(9..10)),
            ("bytes=5-", 10, Wanted::Part(5..10)),
            ("bytes=5-100", 10, Wanted::Part(5..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-30", 10, Wanted::Part(0..10)),
            ("BYTES= 1-2 ", 10, Wanted::Part(1..3)),
            (huge, 10, Wanted::Part(0..10)),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=10-11", 10, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-1", 0, Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999999-", 10, Wanted::Unsatisfiable),
        ] {
            assert_eq!(Wanted::parse(header.as_bytes(), size), wanted, "{header} of {size}");
        }
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=0-1,3-4",
            "bytes=+0-1",
            "bytes=0--1",
            "bytes = 0-1",
            "lines=0-1",
            "bytes=0 - 1",
            "bytes=0x0-1",
        ] {
            assert_eq!(Wanted::parse(ignored.as_bytes(), 10), Wanted::All, "{ignored}");
        }
        assert_eq!(Wanted::parse(b"bytes=0-\xff", 10), Wanted::All);
    }
}
