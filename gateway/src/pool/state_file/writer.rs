//! Writes the state file, and tries again by itself what the disk refused.

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

/// The time before the first retry; each further one waits twice as long, up to the limit.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);

/// A change cannot be made to last.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The disk refuses.
    #[error("the state file {path} cannot be written: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new process has read the file, or is about to: it would not know of the change.
    #[error("the gateway is being upgraded")]
    Frozen,
}

/// How the last write went.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why the last write failed; `None` when it succeeded.
    pub error: Option<String>,
    /// How many failed since the start.
    pub failures: u64,
    /// When one succeeded last.
    pub last_success: Timestamp,
}

/// The file, and what belongs in it.
#[derive(Debug)]
pub(super) struct Writer {
    path: Option<PathBuf>,
    /// Held while the disk is waited for.
    file: Mutex<File>,
    /// What the pools are now. Held for moments alone.
    states: Mutex<States>,
    health: Mutex<Health>,
    events: Events,
}

/// What is known of the file.
#[derive(Debug)]
pub(super) struct File {
    /// What it holds; `None` while that is uncertain, after a write that failed with its last step.
    written: Option<States>,
    /// Whether changes are refused.
    pub(super) frozen: bool,
    /// Whether another process writes it.
    pub(super) closed: bool,
}

impl Writer {
    /// A writer of the file, which holds these states.
    pub(super) fn new(path: Option<PathBuf>, states: States, events: Events) -> Self {
        let file = File { written: Some(states.clone()), frozen: false, closed: false };
        let health = Health { last_success: Timestamp::now(), ..Health::default() };
        Self { path, file: Mutex::new(file), states: Mutex::new(states), health: Mutex::new(health), events }
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

    /// Writes these states, unless the file holds them.
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
        self.take_outcome(path, outcome.as_ref().err());
        outcome.map_err(|source| SaveError::Io { path: path.to_owned(), source })
    }

    /// Brings the file to what the pools are now. Tells whether it is there.
    pub(super) fn write_behind(&self) -> bool {
        // First the file, then the states: a change that is being written is among them afterwards.
        let mut file = self.file();
        let states = self.states().clone();
        match self.path.as_ref().filter(|_| !file.closed && self.health().error.is_some()) {
            // Even when nothing is pending, so that it shows whether changes can be saved again.
            Some(path) => self.write_to(path, &mut file, states).is_ok(),
            None => self.write(&mut file, states).is_ok(),
        }
    }

    /// Writes whenever it is woken, and again after a failure, until nobody can wake it.
    pub(super) fn run(&self, woken: &Receiver<()>) {
        let mut retry: Option<(Instant, Duration)> = None;
        loop {
            let next = match retry {
                None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((at, _)) => woken.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match (next, retry) {
                (Err(RecvTimeoutError::Disconnected), _) => return,
                // What is learned meanwhile does not shorten the pause.
                (Ok(()), Some((at, _))) if Instant::now() < at => continue,
                _ => {}
            }
            let pause = retry.map_or(FIRST_RETRY, |(_, pause)| (2 * pause).min(MAX_RETRY));
            retry = (!self.write_behind()).then(|| (Instant::now() + pause, pause));
        }
    }

    /// Notes how a write went; says so when it is another outcome than the last one.
    fn take_outcome(&self, path: &Path, error: Option<&io::Error>) {
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
                tracing::error!(%path, %error, "the state file cannot be written: changes are refused");
            }
            (None, true) => tracing::info!(%path, "the state file can be written again"),
            _ => return,
        }
        let error = health.error.clone();
        drop(health);
        self.events.publish(|| Event::StateFileChanged { error });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is changed by one assignment, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the file. A crash leaves the old one or the new one, and after the return the new one.
pub(super) fn write(path: &Path, states: &States) -> io::Result<()> {
    replace(path, &prepare(path, states)?)
}

/// Writes the states beside the file, and gives where.
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

/// Puts what was written beside the file in its place.
fn replace(path: &Path, beside: &Path) -> io::Result<()> {
    fs::rename(beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
