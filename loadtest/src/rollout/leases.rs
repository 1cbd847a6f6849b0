//! Whether each stateful instance that was stopped cleanly released its lease, by its own log.
//! Otherwise the instance that takes over one of its sessions waits for a second.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What an instance logs when it has given its lease back.
const RELEASED: &str = "lease released";

/// Orderly stops of stateful instances, and what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leases {
    /// Orderly stops.
    pub stops: u64,
    /// How many gave the lease back.
    pub given_back: u64,
}

impl Leases {
    pub(super) fn add(&mut self, gave_back: bool) {
        self.stops += 1;
        self.given_back += u64::from(gave_back);
    }

    /// Whether each stop gave a lease back.
    pub fn are_all_given_back(&self) -> bool {
        self.given_back == self.stops
    }
}

/// A place in the log of an instance that is about to be stopped.
pub(super) struct LogMark {
    log: PathBuf,
    length: u64,
}

impl LogMark {
    /// The end of the log as it is now.
    pub(super) fn at_end_of(log: PathBuf) -> Result<Self> {
        let length = length_of(&log)?;
        Ok(Self { log, length })
    }

    /// Whether the instance has given its lease back since.
    pub(super) fn gave_back_since(&self) -> Result<bool> {
        // A log that has grown too large is emptied while it is written.
        let from = if length_of(&self.log)? < self.length { 0 } else { self.length };
        let mut text = Vec::new();
        let mut file =
            File::open(&self.log).with_context(|| format!("cannot open {}", self.log.display()))?;
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.read_to_end(&mut text))
            .context("cannot read a log")?;
        Ok(text.windows(RELEASED.len()).any(|part| part == RELEASED.as_bytes()))
    }
}

fn length_of(log: &Path) -> Result<u64> {
    Ok(log.metadata().with_context(|| format!("cannot look at {}", log.display()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_logged_after_the_mark_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("stateful-1.log");
        let before = format!("{{\"message\":\"{RELEASED}\"}}\n");
        std::fs::write(&log, &before).expect("written");
        let mark = LogMark::at_end_of(log.clone()).expect("a mark");
        assert!(!mark.gave_back_since().expect("read"));
        std::fs::write(&log, format!("{before}stopped\n{before}")).expect("written");
        assert!(mark.gave_back_since().expect("read"));
        std::fs::write(&log, "").expect("emptied");
        assert!(
            !mark.gave_back_since().expect("read"),
            "a log that was rotated is read from its beginning"
        );
    }
}
