//! What becomes of the members when one is drained, and which decision about that holds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::control::DrainInstance;
use proto_contracts::health::DrainDecision;
use proto_contracts::{InstanceName, PoolName};

use crate::pool::drain::{Announced, Decision, Drain, Until, Untold, unix_ms};
use crate::pool::health::Health;
use crate::pool::last::LastInstance;
use crate::pool::registry::Registry;
use crate::pool::report::Report;
use crate::pool::slot::Slot;
use crate::pool::state_file::KnownDecision;

/// Decisions about instances that are not there are remembered up to this number.
const MAX_ABSENT: usize = 256;

impl Registry {
    /// Takes what the instance at this address announces in a good health response, and which decision holds.
    pub(in crate::pool) fn take_announcement(&mut self, addr: SocketAddr, report: &Report, now: Instant) {
        let name = &report.name;
        let Some(slot) = self.slot(addr) else { return };
        let (is_member, is_up) = (slot.name() == Some(name), slot.is_up());
        slot.announced = Some(Announced { seconds_left: report.seconds_left, decision: report.decision });
        if !is_member && slot.instance.is_some() {
            return;
        }
        let known = self.decisions.get(name).copied();
        let announced = report.decision.map(|DrainDecision { decided_ms, until_ms }| {
            let at = now + Duration::from_secs(report.seconds_left.unwrap_or(0));
            Decision { decided_ms, until: until_ms.map(|unix_ms| Until { at, unix_ms }) }
        });
        let newer = announced.filter(|announced| known.is_none_or(|known| announced.decided_ms >= known.decided_ms));
        if let Some(newer) = newer.filter(|newer| newer.decided_ms > 0 && is_member) {
            self.decisions.insert(name.clone(), newer);
        }
        // An instance of an older version announces no decisions: what it does is what holds.
        let undone = report.decision.is_none() && report.seconds_left.is_none() && slot_was_announced(self, addr);
        if undone {
            self.decisions.remove(name);
        }
        let holds = newer.or(known.filter(|_| !undone));
        let stops = report.decision.is_none() && report.seconds_left.is_some();
        let told = newer.is_some() || stops;
        let left = Duration::from_secs(report.seconds_left.unwrap_or(0));
        let Some(slot) = self.slot(addr) else { return };
        let why = slot.drain.as_ref().and_then(|drain| drain.alone.clone());
        let why = || why.unwrap_or_else(|| "The instance was restarted and is yet to be told".to_owned());
        match holds.and_then(|decision| decision.until) {
            Some(mut until) => {
                let is_over = stops && left.is_zero() || !told && slot.reports_sessions && is_empty(slot);
                if is_over && until.at > now {
                    until = Until::within(Duration::ZERO, now);
                }
                let alone = (!told).then(why);
                slot.drain = Some(Drain { until: until.at, until_ms: Some(until.unix_ms), alone, last: false });
                if let Some(decision) = self.decisions.get_mut(name).filter(|_| is_member) {
                    decision.until = Some(until);
                }
            }
            None if stops => slot.drain = Some(Drain { until: now + left, until_ms: None, alone: None, last: false }),
            // One that comes back after a stop stays out until enough of its checks have passed.
            None if is_up || !is_member => slot.drain = None,
            None => {}
        }
    }

    /// Whether an operator decided that the instance of that name is drained.
    pub(in crate::pool) fn is_decided(&self, name: &InstanceName) -> bool {
        self.decisions.get(name).is_some_and(|decision| decision.until.is_some())
    }

    /// After a start: drains as they were decided before it.
    pub(in crate::pool) fn resume_drains(&mut self, now: Instant) {
        let decisions = self.decisions.clone();
        for slot in self.slots_mut() {
            let decision = slot.name().and_then(|name| decisions.get(name));
            slot.drain = decision.and_then(|decision| decision.until).map(|until| Drain {
                until: until.at,
                until_ms: Some(until.unix_ms),
                alone: None,
                last: false,
            });
        }
        self.settle(now);
    }

    /// Whose decision the instance does not announce: it missed it, or was restarted.
    pub(in crate::pool) fn untold(&self, now: Instant) -> Vec<Untold> {
        let untold = |slot: &Slot| {
            let decision = self.decisions.get(slot.name()?)?;
            let missed = match slot.announced?.decision {
                Some(announced) => announced.decided_ms < decision.decided_ms,
                // It is of a version that knows no decisions.
                None => slot.announced?.seconds_left.is_none() && decision.until.is_some(),
            };
            missed.then(|| decision.untold(slot.addr, now))
        };
        self.slots().iter().filter_map(untold).collect()
    }

    /// The decision about the instance at this address, unless it announces it already.
    pub(in crate::pool) fn untold_at(&self, addr: SocketAddr, now: Instant) -> Option<Untold> {
        let slot = self.slots().iter().find(|slot| slot.addr == addr)?;
        let decision = self.decisions.get(slot.name()?)?;
        let announced = slot.announced.and_then(|announced| announced.decision);
        let is_known = announced.is_some_and(|announced| announced.decided_ms >= decision.decided_ms);
        (!is_known).then(|| decision.untold(addr, now))
    }

    /// Decides that the instance at this address is drained. What is drained stays as it is, and a drain that goes on
    /// changes its deadline alone, when there is one.
    ///
    /// # Errors
    /// When no other instance would serve and `force` is not set.
    pub(in crate::pool) fn decide_drain(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        deadline: Option<Duration>,
        force: bool,
    ) -> Result<(), LastInstance> {
        let now = Instant::now();
        let Some(name) = self.slot(addr).and_then(|slot| slot.name().cloned()) else { return Ok(()) };
        let known = self.decisions.get(&name).copied();
        match known.and_then(|decision| decision.until) {
            Some(until) if until.at <= now || deadline.is_none() => return Ok(()),
            Some(_) => {}
            None if force => {}
            None => LastInstance::refuse(self.slots(), pool, addr, "draining")?,
        }
        let deadline = deadline.unwrap_or(Duration::from_secs(DrainInstance::DEFAULT_DEADLINE_S));
        self.decide(addr, name, Some(Until::within(deadline, now)), now);
        Ok(())
    }

    /// Decides that the instance at this address serves. Returns the decision before, unless there was nothing to end.
    pub(in crate::pool) fn decide_undrain(&mut self, addr: SocketAddr) -> Option<Option<Decision>> {
        let slot = self.slot(addr)?;
        let name = slot.name().cloned()?;
        let is_drained = slot.drain.is_some();
        let before = self.decisions.get(&name).copied();
        if !is_drained && before.is_none_or(|decision| decision.until.is_none()) {
            return None;
        }
        self.decide(addr, name, None, Instant::now());
        Some(before)
    }

    /// Takes back a decision that the instance did not accept.
    pub(in crate::pool) fn restore_decision(&mut self, addr: SocketAddr, before: Option<Decision>) {
        let Some(name) = self.slot(addr).and_then(|slot| slot.name().cloned()) else { return };
        match before {
            Some(before) => self.decisions.insert(name, before),
            None => self.decisions.remove(&name),
        };
    }

    fn decide(&mut self, addr: SocketAddr, name: InstanceName, until: Option<Until>, now: Instant) {
        // Later than what is known, even when another gateway's clock is ahead.
        let known = self.decisions.get(&name).map_or(0, |decision| decision.decided_ms);
        let announced = self.slot(addr).and_then(|slot| slot.announced?.decision);
        let newest = known.max(announced.map_or(0, |decision| decision.decided_ms));
        let decided_ms = unix_ms().max(newest + 1);
        self.decisions.insert(name, Decision { decided_ms, until });
        if let Some(slot) = self.slot(addr) {
            let last = slot.drain.as_ref().is_some_and(|drain| drain.last);
            slot.drain = until.map(|until| Drain {
                until: until.at,
                until_ms: Some(until.unix_ms),
                alone: Some("The instance is yet to be told".to_owned()),
                last,
            });
        }
        self.settle(now);
    }

    /// Notes why the instance at this address could not be told, for operators. Returns whether that is news.
    pub(in crate::pool) fn not_told(&mut self, addr: SocketAddr, why: String) -> bool {
        let Some(drain) = self.slot(addr).and_then(|slot| slot.drain.as_mut()) else { return false };
        let is_news = drain.alone.as_ref().is_some_and(|known| *known != why);
        if is_news {
            drain.alone = Some(why);
        }
        is_news
    }

    /// Finds out whose drain is over, and who serves on because no other instance does.
    ///
    /// What an operator has drained stays so. When all that are up are drained, the one whose drain ended last serves:
    /// by the time that the instances announce, so that all gateways name the same one.
    pub(in crate::pool) fn settle(&mut self, now: Instant) {
        let up = || self.slots().iter().filter(|slot| slot.is_up());
        let order = |slot: &Slot| Some((slot.drain.as_ref()?.until_ms?, slot.name()?.clone()));
        let goes_on = |slot: &&Slot| slot.drain.as_ref().is_some_and(|drain| !drain.is_over(now));
        let stops = |slot: &&Slot| slot.drain.as_ref().is_some_and(|drain| drain.until_ms.is_none());
        let last: Vec<SocketAddr> = if up().any(|slot| slot.drain.is_none()) {
            Vec::new()
        } else if up().any(|slot| goes_on(&slot) && !stops(&slot)) {
            up().filter(goes_on).max_by_key(|slot| order(slot)).map(Slot::addr).into_iter().collect()
        } else if up().any(|slot| stops(&slot)) {
            up().filter(stops).map(Slot::addr).collect()
        } else {
            up().max_by_key(|slot| order(slot)).map(Slot::addr).into_iter().collect()
        };
        for slot in self.slots_mut() {
            let is_last = last.contains(&slot.addr);
            slot.drained = !is_last && slot.drain.as_ref().is_some_and(|drain| drain.is_over(now));
            if let Some(drain) = &mut slot.drain {
                drain.last = is_last;
            }
            if slot.health != Health::Unknown {
                slot.serving.update(slot.is_up() && !slot.drained, now);
            }
        }
    }

    /// The decisions as the state file keeps them: those that drain, and those about instances that are there.
    pub(in crate::pool) fn known_decisions(&self) -> Vec<KnownDecision> {
        let is_there = |name: &InstanceName| self.slots().iter().any(|slot| slot.name() == Some(name));
        let mut absent = 0;
        let kept = self.decisions.iter().filter(|(name, decision)| {
            let there = is_there(name);
            absent += usize::from(!there && decision.until.is_some());
            there || (decision.until.is_some() && absent <= MAX_ABSENT)
        });
        kept.map(|(name, decision)| KnownDecision {
            name: name.clone(),
            decided_ms: decision.decided_ms,
            until_ms: decision.until.map(|until| until.unix_ms),
        })
        .collect()
    }
}

/// Whether the instance at this address announced the drain that it is in.
fn slot_was_announced(registry: &mut Registry, addr: SocketAddr) -> bool {
    registry.slot(addr).is_some_and(|slot| slot.drain.as_ref().is_some_and(|drain| drain.alone.is_none()))
}

/// Whether nothing is left there that a drain would wait for.
fn is_empty(slot: &Slot) -> bool {
    slot.instance().is_some_and(|instance| {
        let busy = instance.in_flight() + instance.streams() + instance.transfers();
        busy == 0 && instance.reported_sessions() == 0
    })
}
