//! The failures of a run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures are printed as they happen.
const SHOWN: usize = 20;

/// Failures with their times since the run began.
pub(super) struct Failures {
    begin: Instant,
    /// Unbounded: failures are rare in a run that matters.
    all: Mutex<Vec<(Duration, String)>>,
}

impl Failures {
    pub(super) fn starting_at(begin: Instant) -> Self {
        Self { begin, all: Mutex::default() }
    }

    /// Records a failure, and prints the first [`SHOWN`].
    pub(super) fn add(&self, what: String) {
        let at = self.begin.elapsed();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match all.len() {
            0..SHOWN => eprintln!("{:>7.1} s  failed: {what}", at.as_secs_f64()),
            SHOWN => {
                eprintln!("{:>7.1} s  more failures; the report counts them", at.as_secs_f64())
            }
            _ => {}
        }
        all.push((at, what));
    }

    /// All failures, in order.
    pub(super) fn all(&self) -> Vec<(Duration, String)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
