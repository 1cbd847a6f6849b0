//! Applies drains to the membership.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::control::DrainInstance;
use proto_contracts::health::DrainDecision;
use proto_contracts::{InstanceName, PoolName};

use crate::pool::drain::{Announced, Decision, Drain, PendingDrain, Until, unix_ms};
use crate::pool::health::Health;
use crate::pool::host::Host;
use crate::pool::last::LastInstance;
use crate::pool::registry::Registry;
use crate::pool::report::Report;
use crate::pool::state_file::KnownDecision;

/// Maximum number of saved decisions about absent instances.
const MAX_ABSENT: usize = 256;

impl Registry {
    /// Applies the announcement of a good health response; the latest decision wins.
    pub(in crate::pool) fn apply_announcement(
        &mut self,
        addr: SocketAddr,
        report: &Report,
        now: Instant,
    ) {
        let name = &report.name;
        let Some(host) = self.host(addr) else { return };
        let (is_member, is_up) = (host.name() == Some(name), host.is_up());
        host.announced =
            Some(Announced { seconds_left: report.seconds_left, decision: report.decision });
        if !is_member && host.instance.is_some() {
            return;
        }
        let known = self.decisions.get(name).copied();
        let announced = report.decision.map(|DrainDecision { decided_ms, until_ms }| {
            let at = now + Duration::from_secs(report.seconds_left.unwrap_or(0));
            Decision { decided_ms, until: until_ms.map(|unix_ms| Until { at, unix_ms }) }
        });
        let newer = announced
            .filter(|announced| known.is_none_or(|known| announced.decided_ms >= known.decided_ms));
        if let Some(newer) = newer.filter(|newer| newer.decided_ms > 0 && is_member) {
            self.decisions.insert(name.clone(), newer);
        }
        // An old version announces no decisions, so its state wins.
        let undone = report.decision.is_none()
            && report.seconds_left.is_none()
            && drain_was_announced(self, addr);
        if undone {
            self.decisions.remove(name);
        }
        let holds = newer.or(known.filter(|_| !undone));
        let stops = report.decision.is_none() && report.seconds_left.is_some();
        let announces = newer.is_some() || stops;
        let left = Duration::from_secs(report.seconds_left.unwrap_or(0));
        let Some(host) = self.host(addr) else { return };
        let why = host.drain.as_ref().and_then(|drain| drain.unannounced.clone());
        let why = || {
            why.unwrap_or_else(|| {
                "The instance was restarted and does not announce the drain yet".to_owned()
            })
        };
        match holds.and_then(|decision| decision.until) {
            Some(mut until) => {
                let is_over = stops && left.is_zero()
                    || !announces && host.reports_sessions && is_empty(host);
                if is_over && until.at > now {
                    until = Until::within(Duration::ZERO, now);
                }
                let unannounced = (!announces).then(why);
                host.drain = Some(Drain {
                    until: until.at,
                    until_ms: Some(until.unix_ms),
                    unannounced,
                    last: false,
                });
                if let Some(decision) = self.decisions.get_mut(name).filter(|_| is_member) {
                    decision.until = Some(until);
                }
            }
            None if stops => {
                host.drain = Some(Drain {
                    until: now + left,
                    until_ms: None,
                    unannounced: None,
                    last: false,
                })
            }
            // One that returns after a stop needs enough passing checks.
            None if is_up || !is_member => host.drain = None,
            None => {}
        }
    }

    /// Whether an operator drained the instance of that name.
    pub(in crate::pool) fn is_decided(&self, name: &InstanceName) -> bool {
        self.decisions.get(name).is_some_and(|decision| decision.until.is_some())
    }

    /// Restores saved drains after a start.
    pub(in crate::pool) fn resume_drains(&mut self, now: Instant) {
        let decisions = self.decisions.clone();
        for host in self.hosts_mut() {
            let decision = host.name().and_then(|name| decisions.get(name));
            host.drain = decision.and_then(|decision| decision.until).map(|until| Drain {
                until: until.at,
                until_ms: Some(until.unix_ms),
                unannounced: None,
                last: false,
            });
        }
        self.update_drain_states(now);
    }

    /// Decisions that instances do not announce, because they missed them or were restarted.
    pub(in crate::pool) fn pending_drains(&self, now: Instant) -> Vec<PendingDrain> {
        let pending = |host: &Host| {
            let decision = self.decisions.get(host.name()?)?;
            let missed = match host.announced?.decision {
                Some(announced) => announced.decided_ms < decision.decided_ms,
                // An old version without decisions.
                None => host.announced?.seconds_left.is_none() && decision.until.is_some(),
            };
            missed.then(|| decision.pending(host.addr, now))
        };
        self.hosts().iter().filter_map(pending).collect()
    }

    /// The decision about the instance at this address, unless it announces it.
    pub(in crate::pool) fn pending_drain_at(
        &self,
        addr: SocketAddr,
        now: Instant,
    ) -> Option<PendingDrain> {
        let host = self.hosts().iter().find(|host| host.addr == addr)?;
        let decision = self.decisions.get(host.name()?)?;
        let announced = host.announced.and_then(|announced| announced.decision);
        let is_known =
            announced.is_some_and(|announced| announced.decided_ms >= decision.decided_ms);
        (!is_known).then(|| decision.pending(addr, now))
    }

    /// Drains the instance at this address. A drain in progress only gets the new deadline, if any.
    ///
    /// # Errors
    /// When it is the last available instance and `force` is not set.
    pub(in crate::pool) fn decide_drain(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        deadline: Option<Duration>,
        force: bool,
    ) -> Result<(), LastInstance> {
        let now = Instant::now();
        let Some(name) = self.host(addr).and_then(|host| host.name().cloned()) else {
            return Ok(());
        };
        let known = self.decisions.get(&name).copied();
        match known.and_then(|decision| decision.until) {
            Some(until) if until.at <= now || deadline.is_none() => return Ok(()),
            Some(_) => {}
            None if force => {}
            None => LastInstance::check(self.hosts(), pool, addr, "draining")?,
        }
        let deadline = deadline.unwrap_or(Duration::from_secs(DrainInstance::DEFAULT_DEADLINE_S));
        self.decide(addr, name, Some(Until::within(deadline, now)), now);
        Ok(())
    }

    /// Ends the drain of the instance at this address. Returns the decision before, if there was a
    /// drain.
    pub(in crate::pool) fn decide_undrain(&mut self, addr: SocketAddr) -> Option<Option<Decision>> {
        let host = self.host(addr)?;
        let name = host.name().cloned()?;
        let is_drained = host.drain.is_some();
        let before = self.decisions.get(&name).copied();
        if !is_drained && before.is_none_or(|decision| decision.until.is_none()) {
            return None;
        }
        self.decide(addr, name, None, Instant::now());
        Some(before)
    }

    /// Restores the decision before, when the instance did not accept the new one.
    pub(in crate::pool) fn restore_decision(&mut self, addr: SocketAddr, before: Option<Decision>) {
        let Some(name) = self.host(addr).and_then(|host| host.name().cloned()) else { return };
        match before {
            Some(before) => self.decisions.insert(name, before),
            None => self.decisions.remove(&name),
        };
    }

    fn decide(&mut self, addr: SocketAddr, name: InstanceName, until: Option<Until>, now: Instant) {
        // Later than known decisions, even if another gateway's clock is ahead.
        let known = self.decisions.get(&name).map_or(0, |decision| decision.decided_ms);
        let announced = self.host(addr).and_then(|host| host.announced?.decision);
        let newest = known.max(announced.map_or(0, |decision| decision.decided_ms));
        let decided_ms = unix_ms().max(newest + 1);
        self.decisions.insert(name, Decision { decided_ms, until });
        if let Some(host) = self.host(addr) {
            let last = host.drain.as_ref().is_some_and(|drain| drain.last);
            host.drain = until.map(|until| Drain {
                until: until.at,
                until_ms: Some(until.unix_ms),
                unannounced: Some("The instance does not announce the drain yet".to_owned()),
                last,
            });
        }
        self.update_drain_states(now);
    }

    /// Records why the instance does not announce its drain. Returns whether the reason is new.
    pub(in crate::pool) fn record_drain_failure(&mut self, addr: SocketAddr, why: String) -> bool {
        let Some(drain) = self.host(addr).and_then(|host| host.drain.as_mut()) else {
            return false;
        };
        let is_news = drain.unannounced.as_ref().is_some_and(|known| *known != why);
        if is_news {
            drain.unannounced = Some(why);
        }
        is_news
    }

    /// Marks drains that are over, and the instance that keeps serving because no other is
    /// available.
    ///
    /// When all healthy instances are drained, the one with the latest announced deadline keeps
    /// serving, so that all gateways choose the same one.
    pub(in crate::pool) fn update_drain_states(&mut self, now: Instant) {
        let up = || self.hosts().iter().filter(|host| host.is_up());
        let order = |host: &Host| Some((host.drain.as_ref()?.until_ms?, host.name()?.clone()));
        let goes_on = |host: &&Host| host.drain.as_ref().is_some_and(|drain| !drain.is_over(now));
        let stops =
            |host: &&Host| host.drain.as_ref().is_some_and(|drain| drain.until_ms.is_none());
        let last: Vec<SocketAddr> = if up().any(|host| host.drain.is_none()) {
            Vec::new()
        } else if up().any(|host| goes_on(&host) && !stops(&host)) {
            up().filter(goes_on)
                .max_by_key(|host| order(host))
                .map(Host::addr)
                .into_iter()
                .collect()
        } else if up().any(|host| stops(&host)) {
            up().filter(stops).map(Host::addr).collect()
        } else {
            up().max_by_key(|host| order(host)).map(Host::addr).into_iter().collect()
        };
        for host in self.hosts_mut() {
            let is_last = last.contains(&host.addr);
            host.drained = !is_last && host.drain.as_ref().is_some_and(|drain| drain.is_over(now));
            if let Some(drain) = &mut host.drain {
                drain.last = is_last;
            }
            if host.health != Health::Unknown {
                host.serving.update(host.is_up() && !host.drained, now);
            }
        }
    }

    /// The decisions for the state file: drains, and those about known instances.
    pub(in crate::pool) fn known_decisions(&self) -> Vec<KnownDecision> {
        let is_there =
            |name: &InstanceName| self.hosts().iter().any(|host| host.name() == Some(name));
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
fn drain_was_announced(registry: &mut Registry, addr: SocketAddr) -> bool {
    registry
        .host(addr)
        .is_some_and(|host| host.drain.as_ref().is_some_and(|drain| drain.unannounced.is_none()))
}

/// Whether the instance has no requests, streams or sessions.
fn is_empty(host: &Host) -> bool {
    host.instance().is_some_and(|instance| {
        let busy = instance.in_flight() + instance.streams() + instance.transfers();
        busy == 0 && instance.reported_sessions() == 0
    })
}
