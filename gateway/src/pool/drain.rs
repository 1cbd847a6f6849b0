//! Drains, as decided by operators and announced by instances.
//!
//! An operator's decision applies to an instance's name. The instance announces it, each gateway
//! saves it, and the latest decision wins. So it survives restarts of both, and a gateway repeats
//! it to an instance that lost it. A stop (SIGTERM) is announced as a drain that is over, without a
//! decision.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_contracts::InstanceName;
use proto_contracts::control;
use proto_contracts::health::DrainDecision;

use crate::pool::state_file::KnownDecision;

/// An operator's last decision about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) decided_ms: u64,
    /// When its keys move; `None`: it is undrained.
    pub(super) until: Option<Until>,
}

impl Decision {
    pub(super) fn pending(self, addr: SocketAddr, now: Instant) -> PendingDrain {
        let seconds = |until: Until| whole_seconds(until.at.saturating_duration_since(now));
        PendingDrain { addr, decided_ms: self.decided_ms, deadline_s: self.until.map(seconds) }
    }
}

/// A deadline by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Until {
    pub(super) at: Instant,
    pub(super) unix_ms: u64,
}

impl Until {
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        Self { at: now + time, unix_ms: unix_ms().saturating_add(millis(time)) }
    }

    fn from_unix(unix_ms: u64, now: Instant) -> Self {
        Self { at: now + Duration::from_millis(unix_ms.saturating_sub(self::unix_ms())), unix_ms }
    }
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The drain of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drain {
    pub(super) until: Instant,
    /// The same in wall time, by which gateways agree on the last drained; `None`: the instance
    /// stops.
    pub(super) until_ms: Option<u64>,
    /// Why the instance does not announce it, if so.
    pub(super) unannounced: Option<String>,
    /// No other instance is available, so this one keeps serving past its deadline.
    pub(super) last: bool,
}

impl Drain {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// As the control API shows it.
    pub(super) fn view(&self, now: Instant) -> control::Drain {
        control::Drain {
            seconds_left: self.seconds_left(now),
            announced: self.unannounced.is_none(),
            serves_as_the_last: self.last,
            note: note(self),
        }
    }

    /// In whole seconds, rounded up.
    fn seconds_left(&self, now: Instant) -> u64 {
        whole_seconds(self.until.saturating_duration_since(now))
    }
}

fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// A decision that the instance does not announce yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingDrain {
    /// Where it listens.
    pub addr: SocketAddr,
    /// When it was decided.
    pub decided_ms: u64,
    /// Seconds until its keys move; `None`: undrain.
    pub deadline_s: Option<u64>,
}

fn note(drain: &Drain) -> Option<String> {
    let last = drain.last.then(|| {
        "No other instance is available, so this one keeps serving past its deadline.".to_owned()
    });
    let unannounced = drain.unannounced.as_ref().map(|why| {
        format!("{why}; only this gateway drains it. The gateway retries at each health check.")
    });
    [last, unannounced].into_iter().flatten().reduce(|all, next| all + " " + &next)
}

/// The decisions of the state file.
pub(super) fn decisions(known: Vec<KnownDecision>) -> BTreeMap<InstanceName, Decision> {
    let now = Instant::now();
    let decision = |known: KnownDecision| {
        let until = known.until_ms.map(|unix_ms| Until::from_unix(unix_ms, now));
        (known.name, Decision { decided_ms: known.decided_ms, until })
    };
    known.into_iter().map(decision).collect()
}

/// An instance's last announcement about its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) seconds_left: Option<u64>,
    pub(super) decision: Option<DrainDecision>,
}
