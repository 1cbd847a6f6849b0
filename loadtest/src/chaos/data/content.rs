//! The content of the run's files. It follows from the file's number, so that nobody has to keep it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};

use crate::chaos::data::ledger::FileNumber;

/// Sizes in bytes: small files, some of several pieces, and a few large ones.
const SIZES: [u64; 8] = [1, 700, 4_096, 9_001, 20_000, 65_536, 150_001, 0];
/// One file in so many is large.
const LARGE_ONE_IN: u32 = 64;
const LARGE: u64 = 900_000;

/// The bytes of a file.
pub(crate) fn content(file: FileNumber) -> Bytes {
    // A xorshift generator; any bytes serve that differ between files and between places.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (u64::from(file) << 17 | 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let size = usize::try_from(size(file)).unwrap_or_default();
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(size);
    bytes.into()
}

/// Its length.
pub(crate) fn size(file: FileNumber) -> u64 {
    if file % LARGE_ONE_IN == LARGE_ONE_IN - 1 {
        return LARGE + u64::from(file);
    }
    SIZES.get(file as usize % SIZES.len()).copied().unwrap_or_default()
}

/// The SHA-256 of files, each computed once.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<HashMap<FileNumber, String>>);

impl Digests {
    /// Whether this is the SHA-256 of the file.
    pub(crate) fn is_of(&self, file: FileNumber, digest: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(file).or_insert_with(|| sha256(&content(file))) == digest
    }
}

/// SHA-256 in hex digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_its_size_and_is_that_of_one_file_alone() {
        let all: Vec<_> = (0..200).map(content).collect();
        for (number, bytes) in (0..).zip(&all) {
            assert_eq!(bytes.len() as u64, size(number));
            assert_eq!(bytes, &content(number));
        }
        let mut long: Vec<_> =
            all.iter().filter(|bytes| bytes.len() >= 8).map(|b| &b[..8]).collect();
        let count = long.len();
        long.sort_unstable();
        long.dedup();
        assert_eq!(long.len(), count);
        assert!(all.iter().any(|bytes| bytes.len() > 800_000), "a large one");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
        let digests = Digests::default();
        assert!(digests.is_of(7, empty) && size(7) == 0);
        assert!(!digests.is_of(8, empty));
    }
}
