//! Random numbers that a case's number repeats, changes of bytes, and the corpus they start from.

use std::path::Path;
use std::{env, fs};

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one; 0 below 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound.max(1) as u64) as usize
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these.
    pub fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Removes, replaces, inserts or repeats a few bytes from offset `start` on.
    pub fn change(&mut self, bytes: &mut Vec<u8>, start: usize, words: &[&str]) {
        let start = start + self.below(bytes.len().saturating_sub(start) + 1);
        let end = start + self.below((bytes.len() - start).min(8) + 1);
        let piece = match self.below(6) {
            0 => Vec::new(),
            1 => vec![self.next_u64() as u8],
            2 => bytes[start..end].to_vec(),
            _ => self.one_of(words).as_bytes().to_vec(),
        };
        // Half of the pieces are inserted, the others replace something.
        let end = if self.percent(50) { start } else { end };
        bytes.splice(start..end, piece);
    }
}

/// A number in the environment.
///
/// # Panics
/// When it is none.
pub fn number_from(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} must be a number")))
}

/// The files of a folder, in the order of their names: a case must be the same everywhere.
///
/// # Panics
/// When one cannot be read.
pub fn files_of(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).expect("a file of the folder")).collect()
}
