//! Whether each gracefully stopped stateful instance released its lease, according to its log.
//! Without the release, an instance that takes over its sessions waits for a second.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Logged by an instance that has released its lease.
const RELEASED: &str = "lease released";

/// Graceful stops of stateful instances, and their leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leases {
    /// Graceful stops.
    pub stops: u64,
    /// Those that released the lease.
    pub released: u64,
}

impl Leases {
    pub(super) fn add(&mut self, released: bool) {
        self.stops += 1;
        self.released += u64::from(released);
    }

    /// Whether every stop released the lease.
    pub fn are_all_released(&self) -> bool {
        self.released == self.stops
    }
}

/// A position in the log of an instance that is about to be stopped.
pub(super) struct LogMark {
    log: PathBuf,
    length: u64,
}

impl LogMark {
    /// The current end of the log.
    pub(super) fn at_end_of(log: PathBuf) -> Result<Self> {
        let length = length_of(&log)?;
        Ok(Self { log, length })
    }

    /// Whether the instance has released its lease since.
    pub(super) fn released_since(&self) -> Result<bool> {
        // A log that grew too large was truncated.
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
    Ok(log.metadata().with_context(|| format!("cannot read {}", log.display()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_after_the_mark_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("stateful-1.log");
        let before = format!("{{\"message\":\"{RELEASED}\"}}\n");
        std::fs::write(&log, &before).expect("written");
        let mark = LogMark::at_end_of(log.clone()).expect("a mark");
        assert!(!mark.released_since().expect("read"));
        std::fs::write(&log, format!("{before}stopped\n{before}")).expect("written");
        assert!(mark.released_since().expect("read"));
        std::fs::write(&log, "").expect("emptied");
        assert!(
            !mark.released_since().expect("read"),
            "a truncated log is read from its beginning"
        );
    }
}
