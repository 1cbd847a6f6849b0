//! Drains as this gateway knows them: announced by the instance, or its own where the instance cannot be told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::control;

use crate::pool::registry::Registry;
use crate::pool::slot::Slot;

/// The drain of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drain {
    until: Instant,
    /// Why the instance does not announce it, when it does not.
    alone: Option<String>,
    /// Over, and served on nevertheless, because no other instance can.
    last: bool,
}

impl Drain {
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// In whole seconds, rounded up.
    fn seconds_left(&self, now: Instant) -> u64 {
        let left = self.until.saturating_duration_since(now);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}

impl Slot {
    /// How its drain goes, while it is drained.
    pub fn drain(&self, now: Instant) -> Option<control::Drain> {
        self.drain.as_ref().map(|drain| control::Drain {
            seconds_left: drain.seconds_left(now),
            announced: drain.alone.is_none(),
            serves_as_the_last: drain.last,
            note: note(drain),
        })
    }

    /// Takes what the instance tells in a good health answer: in how many seconds its keys move away, if they do.
    pub(super) fn take_announcement(&mut self, seconds_left: Option<u64>, now: Instant) {
        if let Some(left) = seconds_left {
            let last = self.drain.as_ref().is_some_and(|drain| drain.last);
            self.drain = Some(Drain { until: now + Duration::from_secs(left), alone: None, last });
            return;
        }
        let is_up = self.is_up();
        let is_empty = self.instance().is_some_and(|instance| {
            let busy = instance.in_flight() + instance.streams() + instance.transfers();
            busy == 0 && instance.reported_sessions() == 0
        });
        match &mut self.drain {
            Some(drain) if drain.alone.is_some() && is_empty => drain.until = drain.until.min(now),
            // One that comes back stays drained until enough of its checks have passed.
            drain if is_up && drain.as_ref().is_some_and(|drain| drain.alone.is_none()) => *drain = None,
            _ => {}
        }
    }
}

fn note(drain: &Drain) -> Option<String> {
    if drain.last {
        return Some("No other instance can serve, so this one serves on.".to_owned());
    }
    let why = drain.alone.as_ref()?;
    Some(format!("{why}; this gateway alone drains it, until it is told otherwise or restarted."))
}

impl Registry {
    /// Drains the instance at this address without its knowledge. `why` it could not be told, an operator is shown.
    pub(super) fn drain_alone(&mut self, addr: SocketAddr, deadline: Duration, why: String) {
        let now = Instant::now();
        if let Some(slot) = self.slot(addr) {
            slot.drain = Some(Drain { until: now + deadline, alone: Some(why), last: false });
        }
        self.settle(now);
    }

    /// Ends a drain of which the instance does not know, and tells whether there was one.
    pub(super) fn end_lone_drain(&mut self, addr: SocketAddr) -> bool {
        let Some(slot) = self.slot(addr) else { return false };
        let alone = slot.drain.as_ref().is_some_and(|drain| drain.alone.is_some());
        if alone {
            slot.drain = None;
        }
        self.settle(Instant::now());
        alone
    }

    /// Finds out whose drain is over. The last instances that can serve go on, drained or not: the slowest answer is better
    /// than none.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_over = |slot: &Slot| slot.drain.as_ref().is_some_and(|drain| drain.is_over(now));
        let others_serve = self.slots().iter().any(|slot| slot.is_up() && !is_over(slot));
        for slot in self.slots_mut() {
            let last = is_over(slot) && slot.is_up() && !others_serve;
            slot.drained = is_over(slot) && !last;
            if let Some(drain) = &mut slot.drain {
                drain.last = last;
            }
        }
    }
}
