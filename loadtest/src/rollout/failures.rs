//! The failures of a run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures are printed as they happen.
const SHOWN: usize = 20;

/// What failed, with the time since the begin of the run.
pub(super) struct Failures {
    begin: Instant,
    /// Rare, or the run is a failure anyway.
    all: Mutex<Vec<(Duration, String)>>,
}

impl Failures {
    pub(super) fn starting_at(begin: Instant) -> Self {
        Self { begin, all: Mutex::default() }
    }

    /// Notes one.
    pub(super) fn add(&self, what: String) {
        let at = self.begin.elapsed();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match all.len() {
            0..SHOWN => eprintln!("{:>7.1} s  failed: {what}", at.as_secs_f64()),
            SHOWN => eprintln!("{:>7.1} s  more failed; the report counts them", at.as_secs_f64()),
            _ => {}
        }
        all.push((at, what));
    }

    /// All of them, in the order of time.
    pub(super) fn all(&self) -> Vec<(Duration, String)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
