//! Counting the lines of an access log.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Longer than any contender buffers lines: Nginx does so for a second.
const SETTLED: Duration = Duration::from_millis(1_500);
/// Limit for all lines to appear.
const LINES_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Part of every contender's request lines, and of no other line.
const MARK: &[u8] = br#""method":""#;

/// A file that a contender appends to.
pub(super) struct AccessLog(PathBuf);

impl AccessLog {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Waits until no more lines are written.
    pub(super) async fn settle(&self) -> Result<()> {
        let (mut before, mut since) = (self.length()?, Instant::now());
        while since.elapsed() < SETTLED {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.length()?;
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Begins a turn: drops all lines so far, since they would fill the disk. Contenders append.
    pub(super) fn begin(&self) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.0);
        file.and_then(|file| file.set_len(0))
            .with_context(|| format!("cannot empty {}", self.0.display()))
    }

    fn length(&self) -> Result<u64> {
        let file =
            self.0.metadata().with_context(|| format!("there is no {}", self.0.display()))?;
        Ok(file.len())
    }

    /// Waits until the turn has exactly this many request lines.
    pub(super) async fn await_lines(&self, expected: u64) -> Result<()> {
        let start = Instant::now();
        loop {
            let lines = self.lines()?;
            if lines == expected {
                return Ok(());
            }
            let is_waiting = start.elapsed() < LINES_TIMEOUT && lines < expected;
            ensure!(is_waiting, "its access log has {lines} lines for {expected} requests");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn lines(&self) -> Result<u64> {
        let file = BufReader::new(File::open(&self.0)?);
        let mut lines = 0;
        for line in file.split(b'\n') {
            lines += u64::from(line?.windows(MARK.len()).any(|window| window == MARK));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn only_request_lines_of_the_turn_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, "{\"method\":\"GET\"}\n").expect("written");
        let log = AccessLog::at(path.clone());
        log.begin().expect("emptied");
        fs::write(&path, "listening\n{\"a\":1,\"method\":\"GET\"}\n").expect("written");
        log.await_lines(1).await.expect("one");
        fs::write(&path, "{\"method\":\"GET\"}\n{\"method\":\"POST\"}\n").expect("written");
        assert!(log.await_lines(1).await.is_err(), "two are too many");
    }
}
