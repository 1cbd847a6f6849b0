//! The media type of a file, by its content.

/// How many of a file's first bytes decide.
pub const SAMPLE: usize = 8 * 1024;

/// What nothing more is known of.
const UNKNOWN: &str = "application/octet-stream";
/// What people can read.
const TEXT: &str = "text/plain";

/// The media type of a file that begins with these bytes. `is_all` tells that it ends there, too.
///
/// It names the first signature that fits. A file can have several, so nobody may rely on it for
/// safety: content is always sent as an attachment, with `nosniff` and in a sandbox.
pub fn content_type(sample: &[u8], is_all: bool) -> &'static str {
    match infer::get(sample) {
        Some(kind) => kind.mime_type(),
        None if is_text(sample, is_all) => TEXT,
        None => UNKNOWN,
    }
}

/// UTF-8 without other control characters than those of lines. The last character of a sample may
/// be cut.
fn is_text(sample: &[u8], is_all: bool) -> bool {
    let text = match std::str::from_utf8(sample) {
        Ok(text) => text,
        Err(error) if !is_all && error.error_len().is_none() => {
            std::str::from_utf8(&sample[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_content_decides() {
        for (sample, expected) in [
            (&b""[..], UNKNOWN),
            (b"hello\r\n\tworld", TEXT),
            ("Grüße".as_bytes(), TEXT),
            (b"{\"a\": 1}", TEXT),
            (b"a\0b", UNKNOWN),
            (b"\x1b[31m", UNKNOWN),
            (b"\xff\xfe\xfd", UNKNOWN),
            (b"%PDF-1.7\n", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"PK\x03\x04", "application/zip"),
            (b"<!DOCTYPE HTML><script>alert(1)</script>", "text/html"),
            (b"MZ\x90\0", "application/vnd.microsoft.portable-executable"),
            // A polyglot is what it begins as.
            (b"GIF89a/*\0*/=1;alert(1)", "image/gif"),
        ] {
            assert_eq!(content_type(sample, true), expected, "{sample:?}");
        }
        let cut = &"ä".as_bytes()[..1];
        assert_eq!((content_type(cut, false), content_type(cut, true)), (UNKNOWN, UNKNOWN));
        let cut = &"aä".as_bytes()[..2];
        assert_eq!((content_type(cut, false), content_type(cut, true)), (TEXT, UNKNOWN));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_type_that_fits_a_header(
            sample in proptest::collection::vec(any::<u8>(), 0..600),
            start in prop::sample::select(vec![
                &b""[..], b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\0\0\0\x18ftyp",
                b"RIFF", b"MZ", b"\x7fELF", b"<?xml", b"\x1a\x45\xdf\xa3", b"ID3", b"{\\rtf",
            ]),
        ) {
            let sample = [start, &sample].concat();
            let found = content_type(&sample, false);
            prop_assert!(found.bytes().all(|b| b.is_ascii_graphic()) && found.contains('/'));
        }
    }
}
