//! Fixed-width lower-case hexadecimal, without allocation and without the formatter.

use std::fmt;

/// Parses exactly `2 * N` lower-case hex digits. Upper case is rejected, so each value has one
/// spelling.
pub(crate) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, &[high, low]) in bytes.iter_mut().zip(text.as_chunks().0) {
        let (high, low) = (VALUES[usize::from(high)], VALUES[usize::from(low)]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(bytes)
}

/// The value of a byte that is no digit: not below 16.
const INVALID: u8 = 0xff;

/// The value of each digit. A session id has 40 of them on each request, so they are looked up.
const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The two digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

pub(crate) fn of_u32(number: u32) -> [u8; 8] {
    let mut text = [0; 8];
    encode(&number.to_be_bytes(), &mut text);
    text
}

/// The digits of a number.
pub fn of_u64(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    encode(&number.to_be_bytes(), &mut text);
    text
}

/// Writes a piece at a time: formatting each byte would cost a session's read a tenth of its time.
pub(crate) fn write(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    let mut text = [0; 64];
    for bytes in bytes.chunks(text.len() / 2) {
        let text = &mut text[..2 * bytes.len()];
        encode(bytes, text);
        out.write_str(str::from_utf8(text).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

/// `out` must have two bytes for each of `bytes`.
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.as_chunks_mut().0) {
        *pair = DIGITS[usize::from(*byte)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_reads_back() {
        let bytes: [u8; 77] = std::array::from_fn(|i| (i * 37 % 256) as u8);
        for length in 0..=bytes.len() {
            let mut text = String::new();
            write(&mut text, &bytes[..length]).expect("a string takes it");
            let expected: String = bytes[..length].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(text, expected);
        }
        let mut text = String::new();
        write(&mut text, &bytes).expect("a string takes it");
        assert_eq!(decode::<77>(text.as_bytes()), Some(bytes));
    }
}
