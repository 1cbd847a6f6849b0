//! What the control API changed, kept over a restart: strategies, added and removed instances, and the names that
//! addresses have told.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use proto_contracts::control::Strategy;
use proto_contracts::{InstanceName, PoolName};
use serde::{Deserialize, Serialize};

/// What survives a restart, of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolState {
    /// The strategy, where it was switched to another than the configured one.
    pub strategy: Option<Strategy>,
    /// Addresses that are neither in the configuration nor discovered.
    pub added: Vec<SocketAddr>,
    /// Addresses of either that were removed.
    pub removed: Vec<SocketAddr>,
    /// What DNS named at last, so that a start while it does not answer finds everybody.
    pub discovered: Vec<SocketAddr>,
    /// Who was met where.
    pub names: Vec<KnownName>,
}

/// Who was met at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownName {
    /// The address.
    pub addr: SocketAddr,
    /// Who was met there.
    pub name: InstanceName,
}

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

/// The states of all pools in one JSON file, replaced whole at each change.
#[derive(Debug, Default)]
pub struct StateFile {
    path: Option<PathBuf>,
    /// Both pools write the one file.
    states: Mutex<BTreeMap<PoolName, PoolState>>,
    /// Set when another process writes it.
    handed_over: AtomicBool,
}

impl StateFile {
    /// Opens the file; without a path nothing survives. That it can be written is found out now, not at a change.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn open(path: Option<PathBuf>) -> Result<Self, StateFileError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let states = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|source| StateFileError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(StateFileError::Io { path, source }),
        };
        write(&path, &states).map_err(|source| StateFileError::Io { path: path.clone(), source })?;
        Ok(Self { path: Some(path), states: Mutex::new(states), ..Self::default() })
    }

    /// The state of one pool.
    pub fn load(&self, pool: PoolName) -> PoolState {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(&pool).cloned().unwrap_or_default()
    }

    /// Writes the state of one pool. The change itself stands even when the disk refuses; then the log says so.
    pub fn save(&self, pool: PoolName, state: PoolState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(pool, state);
        if let Some(path) = &self.path
            && !self.handed_over.load(Ordering::Acquire)
            && let Err(error) = write(path, &states)
        {
            tracing::error!(path = %path.display(), %error, "the change will not survive a restart");
        }
    }
}

impl StateFile {
    /// Leaves the file to another process: nothing is written to it after this returns.
    pub fn hand_over(&self) {
        let _no_write_goes_on = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        self.handed_over.store(true, Ordering::Release);
    }
}

/// Writes beside the file and renames, so that a crash leaves the old one or the new one.
fn write(path: &PathBuf, states: &BTreeMap<PoolName, PoolState>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    serde_json::to_writer_pretty(&mut file, states)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let state = PoolState { strategy: Some(Strategy::RoundRobin), ..PoolState::default() };
        StateFile::open(Some(path.clone())).expect("opens").save(PoolName::Stateful, state.clone());
        let reopened = StateFile::open(Some(path)).expect("opens");
        assert_eq!(reopened.load(PoolName::Stateful), state);
        assert_eq!(reopened.load(PoolName::Stateless), PoolState::default());
    }

    #[test]
    fn a_damaged_or_unwritable_file_is_found_at_start_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        fs::write(&path, "{").expect("writes");
        assert!(matches!(StateFile::open(Some(path)), Err(StateFileError::Damaged { .. })));
        let nowhere = folder.path().join("missing/state.json");
        assert!(matches!(StateFile::open(Some(nowhere)), Err(StateFileError::Io { .. })));
    }
}
