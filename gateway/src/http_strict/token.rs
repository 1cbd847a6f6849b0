//! Allowed bytes (RFC 9110, section 5.6.2; RFC 9112, section 2.2).

/// The bytes of a method and of a field's name.
const TOKEN: [bool; 256] = token_table();
/// Bytes that are looked at together, without a branch, so that the compiler uses vectors.
const BLOCK: usize = 64;

const fn token_table() -> [bool; 256] {
    let (mut table, others) = ([false; 256], b"!#$%&'*+-.^_`|~");
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

/// Whether a token may have the byte.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Length of the token at the front.
pub(super) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_token(byte)).unwrap_or(bytes.len())
}

/// Where the first colon is; eight bytes at a time, for names are short.
#[inline]
pub(super) fn colon(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const COLONS: u64 = u64::from_le_bytes([b':'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ COLONS;
        // The lowest bit that is set belongs to the first byte that does not differ.
        let same = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if same != 0 {
            return Some(index * 8 + same.trailing_zeros() as usize / 8);
        }
    }
    let before = bytes.len() - rest.len();
    rest.iter().position(|&byte| byte == b':').map(|place| before + place)
}

/// What a target has that needs a closer look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TargetBytes {
    /// The first byte that no target may have. RFC 3986 allows fewer, but browsers send the others.
    /// A backslash, which some servers read as a slash, and `#` with what follows are forbidden.
    pub(super) forbidden: Option<u8>,
    /// It has escapes.
    pub(super) escapes: bool,
}

/// Looks at all bytes of a target.
pub(super) fn target_bytes(target: &[u8]) -> TargetBytes {
    let (mut forbidden, mut escapes) = (0, 0);
    let (blocks, rest) = target.as_chunks::<BLOCK>();
    let mut last = [b'/'; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for &byte in block {
            forbidden |= is_forbidden_in_target(byte);
            escapes |= u8::from(byte == b'%');
        }
    }
    let first = || target.iter().copied().find(|&byte| is_forbidden_in_target(byte) != 0);
    TargetBytes { forbidden: if forbidden == 0 { None } else { first() }, escapes: escapes != 0 }
}

fn is_forbidden_in_target(byte: u8) -> u8 {
    u8::from(byte < b'$') & u8::from(byte != b'!')
        | u8::from(byte > b'~')
        | u8::from(byte == b'<')
        | u8::from(byte == b'>')
        | u8::from(byte == b'\\')
        | u8::from(byte == b'`')
}
