//! A free offset of the default ports.

use std::env;
use std::fs::OpenOptions;

use crate::error::{Attempt, StackError};
use crate::ports::is_free;

/// The default ports span less than this.
const STEP: usize = 500;
/// The highest ends below the blocks of [`Ports::reserve`](crate::Ports::reserve).
const OFFSETS: std::ops::RangeInclusive<u16> = 1_000..=10_000;
/// The first port of each kind.
const TRIED: [u16; 12] = [8000, 8001, 8002, 8003, 8004, 8090, 8101, 8201, 8379, 8380, 8432, 8443];

/// An offset for `local-stack up --port-offset`, reserved among tests until it is dropped.
#[derive(Debug)]
pub struct FreeOffset {
    offset: u16,
    _lease: std::fs::File,
}

impl FreeOffset {
    /// The first free offset that no test holds, in this process or another.
    ///
    /// # Errors
    /// [`StackError::NoFreePorts`] when none is free, [`StackError::Io`] when the lock files cannot
    /// be made.
    pub fn find() -> Result<Self, StackError> {
        for offset in OFFSETS.step_by(STEP) {
            let lock = env::temp_dir().join(format!("tandem-offset-{offset}.lock"));
            let cannot = || format!("make {}", lock.display());
            let lease = OpenOptions::new().create(true).append(true).open(&lock).attempt(cannot)?;
            if lease.try_lock().is_ok() && TRIED.iter().all(|port| is_free(port + offset)) {
                return Ok(Self { offset, _lease: lease });
            }
        }
        Err(StackError::NoFreePorts { first: 8000 + OFFSETS.start(), last: 8443 + OFFSETS.end() })
    }

    /// The offset that is added to each port.
    pub fn get(&self) -> u16 {
        self.offset
    }
}
