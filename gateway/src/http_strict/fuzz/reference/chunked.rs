//! A body in chunks, read whole and slowly.

/// Length and payload of the body at the front; `None` if there is no valid and complete one.
pub(crate) fn read(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut rest, mut payload) = (bytes, Vec::new());
    loop {
        let (line, after) = line(rest)?;
        let size = size(line)?;
        rest = after;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        payload.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    let (mut count, mut trailer_bytes) = (0, 0);
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some((bytes.len() - rest.len(), payload));
        }
        (count, trailer_bytes) = (count + 1, trailer_bytes + line.len() + 2);
        if count > 32 || trailer_bytes > 8 * 1024 || !is_field(line) {
            return None;
        }
    }
}

/// The line at the front without its CR LF, and what follows.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at(digits);
    if digits.len() > 16 || extensions.len() > 256 || !are_extensions(extensions) {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (size <= i64::MAX as u64).then_some(size)
}

fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(named) = rest.strip_prefix(b";").and_then(after_token) else { return false };
        rest = named;
        if let Some(value) = named.strip_prefix(b"=") {
            let quoted = value.strip_prefix(b"\"").map(after_quoted);
            match quoted.unwrap_or_else(|| after_token(value)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
    }
    true
}

fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|&&byte| is_token_byte(byte)).count();
    (len > 0).then(|| &bytes[len..])
}

fn after_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] if is_text_byte(*byte) => rest,
            [byte, rest @ ..] if *byte != b'\\' && is_text_byte(*byte) => rest,
            _ => return None,
        };
    }
}

fn is_field(line: &[u8]) -> bool {
    after_token(line)
        .and_then(|rest| rest.strip_prefix(b":"))
        .is_some_and(|value| value.iter().all(|&byte| is_text_byte(byte)))
}

/// `tchar` of RFC 9110.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char::from(byte))
}

/// White space, visible characters and those beyond ASCII.
pub(crate) fn is_text_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff)
}
