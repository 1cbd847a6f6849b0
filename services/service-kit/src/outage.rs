//! Tells the log when Redis goes away and when it is back, and not once for each request in between.

use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use service_kit::telemetry::chain;

use crate::store::StoreFault;

/// A Redis that comes and goes is told of this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Whether Redis answered of late.
#[derive(Debug, Default)]
pub(super) struct Outage {
    away: AtomicBool,
    // When the log was last told that Redis is away. Locked on a change alone, so never on the common path.
    told: Mutex<Option<Instant>>,
}

impl Outage {
    /// Looks at the outcome of an act and hands it on.
    pub(super) fn watch<T>(&self, outcome: Result<T, StoreFault>) -> Result<T, StoreFault> {
        match &outcome {
            Ok(_) => self.answered(),
            Err(fault @ (StoreFault::Unavailable(_) | StoreFault::NoAnswer(_))) => self.failed(fault),
            // Redis is there. Told as often as it happens, which is seldom.
            Err(fault @ StoreFault::Unfinished(_)) => {
                tracing::warn!(cause = fault.source().map(chain).unwrap_or_default(), "{fault}");
            }
            // Not an outage, but a fault to be looked into: it is logged with its request.
            Err(StoreFault::Damaged(_)) => {}
        }
        outcome
    }

    fn answered(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the session store answers again");
        }
    }

    fn failed(&self, fault: &StoreFault) {
        if self.away.swap(true, Ordering::Relaxed) || self.told_of_late() {
            return;
        }
        let cause = fault.source().map(chain).unwrap_or_default();
        tracing::warn!(cause, "{fault}; until it answers, requests that need it get 503");
    }

    fn told_of_late(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let late = told.is_some_and(|at| at.elapsed() < TELL_EVERY);
        if !late {
            *told = Some(Instant::now());
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once() {
        let outage = Outage::default();
        let away = || Err::<(), _>(StoreFault::NoAnswer("refused".into()));
        assert!(outage.watch(away()).is_err());
        assert!(outage.away.load(Ordering::Relaxed));
        assert!(outage.told_of_late());
        assert!(outage.watch(Ok(())).is_ok());
        assert!(!outage.away.load(Ordering::Relaxed));
        assert!(outage.watch(Err::<(), _>(StoreFault::Damaged("odd".into()))).is_err());
        assert!(!outage.away.load(Ordering::Relaxed));
    }
}
