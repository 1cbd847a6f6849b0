//! Saves state over restarts: strategies, added and removed instances, names by address, decisions.
//!
//! An operator's *change* is written before it is acknowledged, and rejected if that fails. What
//! the gateway *learns* (names, discovered addresses) is written by a background thread, with
//! retries. No other thread waits for the disk.
//!
//! Lock order: the file, then a pool's registry, then the states.

mod state;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, mpsc};
use std::thread;

use proto_contracts::PoolName;
use proto_contracts::control::Lasts;

pub use state::{KnownDecision, KnownName, KnownWeight, KnownWeightDecision, PoolState};
pub use writer::{Health, SaveError};

use crate::events::Events;
use crate::pool::state_file::state::States;
use crate::pool::state_file::writer::{Writer, write};

/// The state file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It is not readable or writable.
    #[error("cannot read or write the state file {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is corrupt.
    #[error("the state file {path} is corrupt; repair or remove it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The error with its position.
        #[source]
        source: serde_json::Error,
    },
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// The pool rejected it.
    #[error(transparent)]
    Refused(E),
    /// It could not be saved.
    #[error(transparent)]
    NotSaved(SaveError),
}

/// The states of all pools in one JSON file, replaced atomically at each change.
#[derive(Debug)]
pub struct StateFile {
    writer: Arc<Writer>,
    /// Wakes the writer thread, which ends when this is dropped.
    wake: Option<mpsc::Sender<()>>,
}

impl StateFile {
    /// Opens the file, and checks that it is writable. Without a path nothing is saved.
    ///
    /// # Errors
    /// When the file is not readable or writable, or is corrupt.
    pub fn open(path: Option<PathBuf>, events: Events) -> Result<Self, StateFileError> {
        let Some(path) = path else {
            return Ok(Self {
                writer: Arc::new(Writer::new(None, States::new(), events)),
                wake: None,
            });
        };
        let io = |source| StateFileError::Io { path: path.clone(), source };
        let states: States = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|source| StateFileError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(io(source)),
        };
        write(&path, &states).map_err(io)?;
        let (wake, woken) = mpsc::channel();
        let writer = Arc::new(Writer::new(Some(path.clone()), states, events));
        let thread = Arc::clone(&writer);
        thread::Builder::new()
            .name("state file".to_owned())
            .spawn(move || thread.run(&woken))
            .map_err(io)?;
        Ok(Self { writer, wake: Some(wake) })
    }

    /// The state of one pool.
    pub fn load(&self, pool: PoolName) -> PoolState {
        self.writer.states().get(&pool).cloned().unwrap_or_default()
    }

    /// Whether changes survive a restart.
    pub fn lasts(&self) -> Lasts {
        if self.wake.is_some() { Lasts::Saved } else { Lasts::UntilRestart }
    }

    /// The outcome of the last write; `None` without a file.
    pub fn health(&self) -> Option<Health> {
        self.wake.as_ref().map(|_| self.writer.health().clone())
    }

    /// Saves what a pool learned, in the background with retries.
    pub fn note(&self, pool: PoolName, state: PoolState) {
        let mut states = self.writer.states();
        if states.get(&pool) != Some(&state) {
            states.insert(pool, state);
            drop(states);
            self.wake();
        }
    }

    /// Begins an operator's change; others wait until the guard is dropped.
    ///
    /// # Errors
    /// During and after a hot restart.
    pub fn begin(&self) -> Result<Change<'_>, SaveError> {
        let file = self.writer.file();
        if file.frozen || file.closed {
            Err(SaveError::Frozen)
        } else {
            Ok(Change { state_file: self, file })
        }
    }

    /// Rejects changes from now on, and waits for one in progress: a new process reads the file.
    pub fn freeze(&self) {
        self.writer.file().frozen = true;
    }

    /// Accepts changes again: the new process failed.
    pub fn thaw(&self) {
        self.writer.file().frozen = false;
    }

    /// Leaves the file to the new process: nothing is written after this returns.
    pub fn hand_over(&self) {
        self.writer.file().closed = true;
    }

    /// Writes pending state once, and nothing after that: the gateway stops.
    pub fn close(&self) {
        self.writer.write_behind();
        self.hand_over();
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _thread_failed_to_start = wake.send(());
        }
    }
}

/// Exclusive access to the file during a change.
#[derive(Debug)]
#[must_use = "dropping it ends the exclusive access"]
pub struct Change<'a> {
    state_file: &'a StateFile,
    file: MutexGuard<'a, writer::File>,
}

impl Change<'_> {
    /// Writes the pool's future state durably.
    ///
    /// # Errors
    /// When writing fails; then the state before is restored as soon as writing succeeds.
    pub fn write(&mut self, pool: PoolName, state: PoolState) -> Result<(), SaveError> {
        let mut states = self.state_file.writer.states().clone();
        states.insert(pool, state);
        let written = self.state_file.writer.write(&mut self.file, states);
        if written.is_err() {
            self.state_file.wake();
        }
        written
    }
}

#[cfg(test)]
mod tests;
