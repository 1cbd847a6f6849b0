//! `Content-Disposition` (RFC 6266): the name of a file, as it is sent and received.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::{FileName, InvalidFileName};

/// Characters that RFC 8187 sends as they are.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Why a header gives no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDisposition {
    /// It is not of the form that the RFC gives, or has a parameter twice.
    #[error("Content-Disposition is malformed: send attachment; filename=\"report.pdf\".")]
    Malformed,
    /// It has no name.
    #[error("Content-Disposition has no file name: send attachment; filename=\"report.pdf\".")]
    NoName,
    /// It has one that cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidFileName),
}

/// The name in a header. `filename*` comes before `filename`.
///
/// # Errors
/// See [`InvalidDisposition`].
pub fn name(header: &[u8]) -> Result<FileName, InvalidDisposition> {
    let malformed = InvalidDisposition::Malformed;
    let (kind, mut rest) = token(header.trim_ascii()).ok_or(malformed)?;
    if kind.is_empty() {
        return Err(malformed);
    }
    let (mut plain, mut extended) = (None, None);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(b";").ok_or(malformed)?.trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        let (parameter, after) = token(rest).ok_or(malformed)?;
        let after = after.trim_ascii_start().strip_prefix(b"=").ok_or(malformed)?;
        let (value, after) = value(after.trim_ascii_start()).ok_or(malformed)?;
        rest = after;
        let slot = if parameter.eq_ignore_ascii_case(b"filename") {
            &mut plain
        } else if parameter.eq_ignore_ascii_case(b"filename*") {
            &mut extended
        } else {
            continue;
        };
        if slot.replace(value).is_some() {
            return Err(malformed);
        }
    }
    let text = match (extended, plain) {
        (Some(extended), _) => decoded(&extended).ok_or(malformed)?,
        (None, Some(plain)) => String::from_utf8(plain).map_err(|_| malformed)?,
        (None, None) => return Err(InvalidDisposition::NoName),
    };
    Ok(text.parse()?)
}

/// The header of a download: a plain name for old clients, and the whole name.
pub fn attachment(name: &str) -> String {
    let is_plain = |c: char| c == ' ' || (c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%'));
    let fallback: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if fallback == name {
        return format!("attachment; filename=\"{fallback}\"");
    }
    let encoded = utf8_percent_encode(name, &PLAIN);
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

/// A token, and what follows.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted string, and what follows.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        return token(text).map(|(token, rest)| (token.to_vec(), rest));
    };
    let mut value = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((value, rest)),
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                rest = after;
                // A path of Windows, whose backslashes nobody escaped, must not lose them.
                if !matches!(escaped, b'"' | b'\\') {
                    value.push(b'\\');
                }
                value.push(escaped);
            }
            byte => value.push(byte),
        }
    }
}

/// `UTF-8'en'na%C3%AFve`, without its language.
fn decoded(extended: &[u8]) -> Option<String> {
    let mut parts = extended.splitn(3, |byte| *byte == b'\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case(b"utf-8") {
        return None;
    }
    let mut bytes = encoded.iter();
    // The decoder takes a lone % for itself.
    while let Some(byte) = bytes.next() {
        let is_escape = || {
            bytes
                .as_slice()
                .first_chunk::<2>()
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if *byte == b'%' && !is_escape() {
            return None;
        }
    }
    percent_decode(encoded).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read() {
        for (header, expected) in [
            ("attachment; filename=a.txt", "a.txt"),
            ("attachment; filename=\"a b.txt\"", "a b.txt"),
            ("Inline;FileName=\"a\\\"b\\\\\" ;", ""),
            ("attachment ; filename = \"a;b=c\" ; x=y", "a;b=c"),
            ("form-data; name=\"file\"; filename=\"Ω.txt\"", "Ω.txt"),
            ("attachment; filename=\"x\"; filename*=UTF-8''%e2%82%ac%20rates", "€ rates"),
            ("attachment; filename*=utf-8'en'na%C3%AFve; filename=x", "naïve"),
            ("attachment; filename=\"%2e%2e%2f\"", "%2e%2e%2f"),
        ] {
            let found = name(header.as_bytes());
            if expected.is_empty() {
                assert_eq!(found, Err(InvalidDisposition::Name(InvalidFileName::Path)));
            } else {
                assert_eq!(found.map(|name| name.as_str().to_owned()), Ok(expected.to_owned()));
            }
        }
    }

    #[test]
    fn what_is_no_name_is_rejected() {
        use InvalidDisposition::{Malformed, Name, NoName};
        for (header, error) in [
            ("", Malformed),
            (";filename=a", Malformed),
            ("attachment", NoName),
            ("attachment;", NoName),
            ("attachment; name=a", NoName),
            ("attachment filename=a", Malformed),
            ("attachment; filename", Malformed),
            ("attachment; filename=", Malformed),
            ("attachment; filename=\"a", Malformed),
            ("attachment; filename=\"a\\", Malformed),
            ("attachment; filename=a; filename=b", Malformed),
            ("attachment; filename=\"a\"b", Malformed),
            ("attachment; filename=a/b", Malformed),
            ("attachment; filename*=a", Malformed),
            ("attachment; filename*=iso-8859-1''%A3", Malformed),
            ("attachment; filename*=UTF-8''%A3", Malformed),
            ("attachment; filename*=UTF-8''%4", Malformed),
            ("attachment; filename*=UTF-8''%zz", Malformed),
            ("attachment; filename*=UTF-8''a%00b", Name(InvalidFileName::Hidden)),
            ("attachment; filename*=UTF-8''a%0d%0aX%3ay", Name(InvalidFileName::Hidden)),
            ("attachment; filename*=UTF-8''..%2f..%2fa", Name(InvalidFileName::Path)),
            ("attachment; filename=\"C:\\dir\\a\"", Name(InvalidFileName::Path)),
            ("attachment; filename=\"\"", Name(InvalidFileName::Empty)),
        ] {
            assert_eq!(name(header.as_bytes()), Err(error), "{header}");
        }
        assert_eq!(name(b"attachment; filename=\"\xff\""), Err(Malformed));
    }

    #[test]
    fn names_are_sent_for_old_and_new_clients() {
        for (name, expected) in [
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            ("€.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%E2%82%AC.txt"),
            ("a\"b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
            ("50%41", "attachment; filename=\"50_41\"; filename*=UTF-8''50%2541"),
        ] {
            assert_eq!(attachment(name), expected);
        }
    }

    proptest! {
        #[test]
        fn a_sent_name_is_read_again(text in any::<String>()) {
            if let Ok(file) = text.parse::<FileName>() {
                let header = attachment(file.as_str());
                prop_assert!(header.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{}", header);
                prop_assert_eq!(name(header.as_bytes()), Ok(file));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            header in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = name(&header);
            let _ = name(&[b"attachment; filename*=UTF-8''", &*header].concat());
            let _ = name(&[b"attachment; filename=\"", &*header].concat());
        }
    }
}
