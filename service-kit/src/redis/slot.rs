//! The cluster slot of a key, by the Redis cluster specification.

const SLOTS: u16 = 16_384;

/// The slot of a key, hashed over its hash tag (the text in its first braces) if it has one.
pub(super) fn of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16(hashed.as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, bit by bit: keys are short.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of("foo"), 12182);
        assert_eq!(of("{user1000}.following"), of("{user1000}.followers"));
        assert_eq!(of("session:{foo}:meta"), of("foo"));
        assert_ne!(of("foo{}{bar}"), of("bar"));
    }
}
