//! One known address of a pool, with the state of its instance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::control::{self, InstanceState};
use proto_contracts::{InstanceName, WeightDecision};

use crate::pool::drain::{Announced, Drain};
use crate::pool::ejection::Ejections;
use crate::pool::health::Health;
use crate::pool::instance::Instance;
use crate::pool::report::SessionUse;
use crate::pool::slow_start::Serving;

/// One known address of a pool.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) addr: SocketAddr,
    pub(super) instance: Option<Arc<Instance>>,
    pub(super) refused: Option<InstanceName>,
    /// Why it is not an instance of this pool.
    pub(super) mismatch: Option<&'static str>,
    /// Its last reported version.
    pub(super) version: Option<String>,
    pub(super) health: Health,
    pub(super) last_error: Option<String>,
    pub(super) reports_sessions: bool,
    /// Its use of sessions by its last report.
    pub(super) sessions: SessionUse,
    pub(super) ejections: Ejections,
    pub(super) drain: Option<Drain>,
    /// Its last announcement about drains, if the last check passed.
    pub(super) announced: Option<Announced>,
    /// Its drain is over, and it is not a member.
    pub(super) drained: bool,
    /// Its last announced weight, if the last check passed.
    pub(super) announced_weight: Option<WeightDecision>,
    pub(super) serving: Serving,
    /// It was discovered by DNS and is no longer in the records.
    pub(super) absent: bool,
    /// When its membership ends, unless it is renewed.
    pub(super) lease: Option<Instant>,
}

impl Host {
    /// An initial address: its first check decides, so that the gateway starts quickly.
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            instance: None,
            refused: None,
            mismatch: None,
            version: None,
            health: Health::Unknown,
            last_error: None,
            reports_sessions: false,
            sessions: SessionUse::default(),
            ejections: Ejections::default(),
            drain: None,
            announced: None,
            drained: false,
            announced_weight: None,
            serving: Serving::default(),
            absent: false,
            lease: None,
        }
    }

    /// An address that is added later: it gets requests only after enough consecutive checks pass.
    pub(super) fn newcomer(addr: SocketAddr) -> Self {
        Self { health: Health::DOWN, serving: Serving::NEWCOMER, ..Self::new(addr) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The instance, once its name is known and unique.
    pub fn instance(&self) -> Option<&Arc<Instance>> {
        self.instance.as_ref()
    }

    /// Its name, if it is a member.
    pub fn name(&self) -> Option<&InstanceName> {
        self.instance.as_deref().map(Instance::name)
    }

    /// Why it is ejected, or its last health check failed.
    pub fn last_error(&self) -> Option<&str> {
        self.ejections.why().or(self.last_error.as_deref())
    }

    /// Its service's version, if reported.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Why it is rejected, as a metric label: not an instance of this pool, a duplicate name, or
    /// never reachable.
    pub fn refused_for(&self) -> Option<&'static str> {
        match self.state() {
            InstanceState::WrongInstance => self.mismatch,
            InstanceState::DuplicateName => Some("duplicate_name"),
            InstanceState::Pending if self.last_error.is_some() => Some("unreachable"),
            _ => None,
        }
    }

    /// Remaining time of its ejection.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        self.ejections.left(now)
    }

    /// Remaining time of its lease, if its membership has one.
    pub fn leased_for(&self, now: Instant) -> Option<Duration> {
        self.lease.map(|until| until.saturating_duration_since(now))
    }

    /// Whether its membership has a lease that has ended.
    pub(super) fn lease_has_ended(&self, now: Instant) -> bool {
        self.lease.is_some_and(|until| until <= now)
    }

    /// Its live sessions by its last report, if it reports them.
    pub fn live_sessions(&self) -> Option<u64> {
        self.instance.as_deref().filter(|_| self.reports_sessions).map(Instance::reported_sessions)
    }

    /// Its use of sessions by its last report.
    pub fn session_use(&self) -> SessionUse {
        self.sessions
    }

    /// The progress of its drain.
    pub fn drain(&self, now: Instant) -> Option<control::Drain> {
        self.drain.as_ref().map(|drain| drain.view(now))
    }

    /// Whether its name is known and its checks pass.
    pub fn is_up(&self) -> bool {
        self.instance.is_some() && self.health.is_up()
    }

    /// Its state in the control API.
    pub fn state(&self) -> InstanceState {
        match (&self.instance, &self.refused) {
            (Some(_), _) if self.drained => InstanceState::Drained,
            _ if self.mismatch.is_some() => InstanceState::WrongInstance,
            (Some(_), _) if self.health.is_up() && self.ejections.why().is_some() => {
                InstanceState::Ejected
            }
            (Some(_), _) if self.health.is_up() && self.drain.is_some() => InstanceState::Draining,
            (Some(_), _) if self.health.is_up() => InstanceState::Healthy,
            (Some(_), _) => InstanceState::Unhealthy,
            (None, Some(_)) => InstanceState::DuplicateName,
            (None, None) => InstanceState::Pending,
        }
    }
}

/// An instance's name, or its address while the name is unknown.
pub fn label(name: Option<&InstanceName>, addr: SocketAddr) -> String {
    name.map_or_else(|| addr.to_string(), ToString::to_string)
}
