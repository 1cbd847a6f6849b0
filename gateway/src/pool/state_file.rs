//! What must survive a restart: strategies, added and removed instances, and the names known by address.
//!
//! Two kinds of state are written. A *change* of an operator is written before it is acknowledged, and
//! refused when that fails. What the gateway *learns* (names, discovered addresses) is written behind it
//! by a thread of its own, and tried again until it succeeds. No other thread waits for the disk.
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

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It cannot be read or written.
    #[error("cannot read or write the state file {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what an earlier gateway wrote.
    #[error("the state file {path} is damaged; mend or remove it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// A change of a pool that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// The pool refuses it.
    #[error(transparent)]
    Refused(E),
    /// It would not survive a restart.
    #[error(transparent)]
    NotSaved(SaveError),
}

/// The states of all pools in one JSON file, replaced whole at each change.
#[derive(Debug)]
pub struct StateFile {
    writer: Arc<Writer>,
    /// Wakes the thread that writes what was learned. It ends when this is dropped.
    wake: Option<mpsc::Sender<()>>,
}

impl StateFile {
    /// Opens the file; without a path nothing survives. A file that cannot be written is an error now,
    /// not at the first change.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn open(path: Option<PathBuf>, events: Events) -> Result<Self, StateFileError> {
        let Some(path) = path else {
            return Ok(Self { writer: Arc::new(Writer::new(None, States::new(), events)), wake: None });
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
        thread::Builder::new().name("state file".to_owned()).spawn(move || thread.run(&woken)).map_err(io)?;
        Ok(Self { writer, wake: Some(wake) })
    }

    /// The state of one pool.
    pub fn load(&self, pool: PoolName) -> PoolState {
        self.writer.states().get(&pool).cloned().unwrap_or_default()
    }

    /// For how long a change lasts.
    pub fn lasts(&self) -> Lasts {
        if self.wake.is_some() { Lasts::Saved } else { Lasts::UntilRestart }
    }

    /// How writing goes; `None` without a file.
    pub fn health(&self) -> Option<Health> {
        self.wake.as_ref().map(|_| self.writer.health().clone())
    }

    /// Takes what a pool has learned. It is written soon, and again until that succeeds.
    pub fn note(&self, pool: PoolName, state: PoolState) {
        let mut states = self.writer.states();
        if states.get(&pool) != Some(&state) {
            states.insert(pool, state);
            drop(states);
            self.wake();
        }
    }

    /// Begins a change of an operator. Whoever begins another waits until this one is dropped.
    ///
    /// # Errors
    /// While the gateway is being upgraded, and after that.
    pub fn begin(&self) -> Result<Change<'_>, SaveError> {
        let file = self.writer.file();
        if file.frozen || file.closed { Err(SaveError::Frozen) } else { Ok(Change { state_file: self, file }) }
    }

    /// Refuses changes from now on, and waits for one that is being written: a new process reads the file.
    pub fn freeze(&self) {
        self.writer.file().frozen = true;
    }

    /// Takes changes again: the new process has failed.
    pub fn thaw(&self) {
        self.writer.file().frozen = false;
    }

    /// Leaves the file to another process: nothing is written to it after this returns.
    pub fn hand_over(&self) {
        self.writer.file().closed = true;
    }

    /// Writes what is still to be written, once, and nothing after it: the gateway stops.
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

/// The file while a change is written: nobody else writes it.
#[derive(Debug)]
#[must_use = "it keeps others from writing"]
pub struct Change<'a> {
    state_file: &'a StateFile,
    file: MutexGuard<'a, writer::File>,
}

impl Change<'_> {
    /// Writes the state that this pool will have. When it returns, a restart finds it.
    ///
    /// # Errors
    /// When the disk refuses. Then the state before is restored as soon as it takes anything.
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
