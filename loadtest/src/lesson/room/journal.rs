//! What a lesson changes on a running system, on disk until it has put that back: a killed lesson
//! cannot. The lock on the file lets one lesson at a time use a system.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::lesson::room::before::Before;

/// The file in the state folder of the stack.
const FILE: &str = "lesson.json";
/// Bounds the wait for another lesson.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between two trials.
const LOCK_STEP: Duration = Duration::from_millis(100);

/// The locked file. The kernel releases it when the lesson ends in any way.
pub(crate) struct Journal(File);

/// How a system was before a lesson that has not put everything back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    /// The process of the supervisor: a system that is started again is as its plan says.
    pub(crate) supervisor: Option<i32>,
    pub(crate) before: Before,
}

impl Journal {
    /// Waits for some seconds for another lesson, which may be putting everything back.
    ///
    /// # Errors
    /// When another lesson runs on this system, or the file cannot be opened.
    pub(crate) async fn wait_for(state: &Path) -> Result<Self> {
        let begin = Instant::now();
        loop {
            if let Some(journal) = Self::open(state)? {
                return Ok(journal);
            }
            ensure!(begin.elapsed() < LOCK_TIMEOUT, "another lesson runs on this system");
            tokio::time::sleep(LOCK_STEP).await;
        }
    }

    /// `None` while another lesson runs on this system.
    fn open(state: &Path) -> Result<Option<Self>> {
        let path = state.join(FILE);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// What an earlier lesson left. It is written before the first change, so one that is cut off
    /// is of a lesson that changed nothing.
    pub(crate) fn left(&self) -> Result<Option<Left>> {
        let mut text = String::new();
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text))?;
        Ok(serde_json::from_str(&text).ok())
    }

    pub(crate) fn write(&self, left: &Left) -> Result<()> {
        self.clear()?;
        let mut file = &self.0;
        file.write_all(&serde_json::to_vec(left)?).context("cannot write lesson.json")
    }

    /// Everything was put back.
    pub(crate) fn clear(&self) -> Result<()> {
        let mut file = &self.0;
        let cleared = file.seek(SeekFrom::Start(0)).and_then(|_| file.set_len(0));
        cleared.context("cannot write lesson.json")
    }
}

/// Whether a lesson has left something, unless one runs.
pub(crate) fn is_left(state: &Path) -> bool {
    let has_content = std::fs::metadata(state.join(FILE)).is_ok_and(|file| file.len() > 0);
    let journal = || Journal::open(state).ok().flatten();
    has_content && journal().is_some_and(|journal| matches!(journal.left(), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lesson_at_a_time_and_what_is_cut_off_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Journal::open(folder.path()).expect("a file");
        let journal = open().expect("free");
        assert!(journal.left().expect("readable").is_none());
        assert!(open().is_none(), "locked");
        let left = Left { supervisor: Some(7), before: Before::default() };
        journal.write(&left).expect("written");
        assert!(!is_left(folder.path()), "its lesson runs");
        drop(journal);
        assert!(is_left(folder.path()));
        let journal = open().expect("free");
        assert_eq!(journal.left().expect("readable").expect("something").supervisor, Some(7));
        let length = journal.0.metadata().expect("a file").len();
        journal.0.set_len(length - 1).expect("cut");
        assert!(journal.left().expect("readable").is_none());
        journal.write(&left).expect("written");
        journal.clear().expect("cleared");
        drop(journal);
        assert!(!is_left(folder.path()));
    }
}
