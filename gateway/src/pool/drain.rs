//! Drains as this gateway knows them.
//!
//! An operator's decision belongs to the instance's name. The instance announces it, each gateway remembers it in its
//! state file, and of two decisions the later one holds. So it survives a restart of either, and whoever has missed it
//! is told. A stop (SIGTERM) is announced as a drain that is over, and is no decision.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_contracts::InstanceName;
use proto_contracts::control;
use proto_contracts::health::DrainDecision;

use crate::pool::state_file::KnownDecision;

/// What an operator last decided about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) decided_ms: u64,
    /// When its keys move away; `None` when it serves.
    pub(super) until: Option<Until>,
}

impl Decision {
    pub(super) fn untold(self, addr: SocketAddr, now: Instant) -> Untold {
        let seconds = |until: Until| whole_seconds(until.at.saturating_duration_since(now));
        Untold { addr, decided_ms: self.decided_ms, deadline_s: self.until.map(seconds) }
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
    /// The same as wall time, by which gateways agree who was drained last; `None` for an instance that stops.
    pub(super) until_ms: Option<u64>,
    /// Why the instance does not announce it, when it does not.
    pub(super) alone: Option<String>,
    /// No other instance serves, so this one does, past its deadline too.
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
            announced: self.alone.is_none(),
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

/// A decision that an instance has to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Where it listens.
    pub addr: SocketAddr,
    /// When it was decided.
    pub decided_ms: u64,
    /// How many seconds its keys may stay; `None` when it serves.
    pub deadline_s: Option<u64>,
}

fn note(drain: &Drain) -> Option<String> {
    let last = drain.last.then(|| "No other instance serves, so this one does, past its deadline too.".to_owned());
    let alone = drain.alone.as_ref().map(|why| {
        format!("{why}; this gateway alone drains it until the instance can be told, which is tried at each check.")
    });
    [last, alone].into_iter().flatten().reduce(|all, next| all + " " + &next)
}

/// The decisions that the state file has.
pub(super) fn decisions(known: Vec<KnownDecision>) -> BTreeMap<InstanceName, Decision> {
    let now = Instant::now();
    let decision = |known: KnownDecision| {
        let until = known.until_ms.map(|unix_ms| Until::from_unix(unix_ms, now));
        (known.name, Decision { decided_ms: known.decided_ms, until })
    };
    known.into_iter().map(decision).collect()
}

/// What an instance announced of its drain in its last good health response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) seconds_left: Option<u64>,
    pub(super) decision: Option<DrainDecision>,
}
