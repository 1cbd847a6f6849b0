//! Writes the state file, with retries.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto_contracts::control::Event;

use crate::events::Events;
use crate::pool::state_file::state::States;

/// Delay of the first retry; it doubles up to the limit.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);

/// A change could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Writing failed.
    #[error("the state file {path} cannot be written: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A hot restart is in progress: the new process would miss the change.
    #[error("the gateway is being upgraded")]
    Frozen,
}

/// The outcome of the last write.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The error; `None`: it succeeded.
    pub error: Option<String>,
    /// Failed writes since the start.
    pub failures: u64,
    /// Time of the last success.
    pub last_success: Timestamp,
}

/// The file, and the states to write.
#[derive(Debug)]
pub(super) struct Writer {
    path: Option<PathBuf>,
    /// Locked during I/O.
    file: Mutex<File>,
    /// The current states. Never locked during I/O.
    states: Mutex<States>,
    health: Mutex<Health>,
    events: Events,
}

/// The known content of the file.
#[derive(Debug)]
pub(super) struct File {
    /// Its content; `None` if uncertain after a failed write.
    written: Option<States>,
    /// Whether changes are rejected.
    pub(super) frozen: bool,
    /// Whether the file belongs to another process.
    pub(super) closed: bool,
}

impl Writer {
    /// A writer for the file with this content.
    pub(super) fn new(path: Option<PathBuf>, states: States, events: Events) -> Self {
        let file = File { written: Some(states.clone()), frozen: false, closed: false };
        let health = Health { last_success: Timestamp::now(), ..Health::default() };
        Self {
            path,
            file: Mutex::new(file),
            states: Mutex::new(states),
            health: Mutex::new(health),
            events,
        }
    }

    pub(super) fn file(&self) -> MutexGuard<'_, File> {
        lock(&self.file)
    }

    pub(super) fn states(&self) -> MutexGuard<'_, States> {
        lock(&self.states)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    /// Writes these states, if they differ from the file's.
    pub(super) fn write(&self, file: &mut File, states: States) -> Result<(), SaveError> {
        let Some(path) = self.path.as_ref().filter(|_| !file.closed) else { return Ok(()) };
        if file.written.as_ref() == Some(&states) {
            return Ok(());
        }
        self.write_to(path, file, states)
    }

    fn write_to(&self, path: &Path, file: &mut File, states: States) -> Result<(), SaveError> {
        let outcome = prepare(path, &states).and_then(|beside| {
            file.written = None;
            replace(path, &beside)
        });
        if outcome.is_ok() {
            file.written = Some(states);
        }
        self.record_outcome(path, outcome.as_ref().err());
        outcome.map_err(|source| SaveError::Io { path: path.to_owned(), source })
    }

    /// Writes the current states. Returns whether it succeeded.
    pub(super) fn write_behind(&self) -> bool {
        // The file is locked first, so that a change in progress is in the states afterwards.
        let mut file = self.file();
        let states = self.states().clone();
        match self.path.as_ref().filter(|_| !file.closed && self.health().error.is_some()) {
            // After an error even without changes, to find out whether the file is writable again.
            Some(path) => self.write_to(path, &mut file, states).is_ok(),
            None => self.write(&mut file, states).is_ok(),
        }
    }

    /// Writes when woken, with retries after failures, until the sender is dropped.
    pub(super) fn run(&self, woken: &Receiver<()>) {
        let mut retry: Option<(Instant, Duration)> = None;
        loop {
            let next = match retry {
                None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((at, _)) => woken.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match (next, retry) {
                (Err(RecvTimeoutError::Disconnected), _) => return,
                // A wake-up does not shorten the delay.
                (Ok(()), Some((at, _))) if Instant::now() < at => continue,
                _ => {}
            }
            let pause = retry.map_or(FIRST_RETRY, |(_, pause)| (2 * pause).min(MAX_RETRY));
            retry = (!self.write_behind()).then(|| (Instant::now() + pause, pause));
        }
    }

    /// Records the outcome of a write; logs and publishes changes.
    fn record_outcome(&self, path: &Path, error: Option<&io::Error>) {
        let mut health = self.health();
        let failed_before = health.error.is_some();
        match error {
            None => health.last_success = Timestamp::now(),
            Some(_) => health.failures += 1,
        }
        health.error = error.map(ToString::to_string);
        let path = path.display();
        match (error, failed_before) {
            (Some(error), false) => {
                tracing::error!(%path, %error, "cannot write the state file: changes are rejected");
            }
            (None, true) => tracing::info!(%path, "the state file is writable again"),
            _ => return,
        }
        let error = health.error.clone();
        drop(health);
        self.events.publish(|| Event::StateFileChanged { error });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is replaced by one assignment, so it is valid after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the file atomically and durably.
pub(super) fn write(path: &Path, states: &States) -> io::Result<()> {
    replace(path, &prepare(path, states)?)
}

/// Writes the states to a temporary file and returns its path.
fn prepare(path: &Path, states: &States) -> io::Result<PathBuf> {
    let mut json = serde_json::to_vec_pretty(states)?;
    json.push(b'\n');
    // The processes of an upgrade both write for a moment.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::File::create(&beside)?;
    file.write_all(&json)?;
    file.sync_all()?;
    Ok(beside)
}

/// Renames the temporary file to the state file.
fn replace(path: &Path, beside: &Path) -> io::Result<()> {
    fs::rename(beside, path)?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
