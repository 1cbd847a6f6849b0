//! One address that a pool knows, and what is known of who is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::control::{self, InstanceState};
use proto_contracts::{InstanceName, WeightDecision};

use crate::pool::drain::{Announced, Drain};
use crate::pool::ejection::Ejections;
use crate::pool::health::Health;
use crate::pool::instance::Instance;
use crate::pool::slow_start::Serving;

/// One address that the pool knows.
#[derive(Clone, Debug)]
pub struct Slot {
    pub(super) addr: SocketAddr,
    pub(super) instance: Option<Arc<Instance>>,
    pub(super) refused: Option<InstanceName>,
    /// Why what listens there is no instance for this pool, when it is none.
    pub(super) mismatch: Option<&'static str>,
    /// The version that it named last.
    pub(super) version: Option<String>,
    pub(super) health: Health,
    pub(super) last_error: Option<String>,
    pub(super) reports_sessions: bool,
    pub(super) ejections: Ejections,
    pub(super) drain: Option<Drain>,
    /// What it announced of that in its last response, if its last check passed.
    pub(super) announced: Option<Announced>,
    /// Its drain is over, and it is no member.
    pub(super) drained: bool,
    /// The weight that it announced last, if its last check passed.
    pub(super) announced_weight: Option<WeightDecision>,
    pub(super) serving: Serving,
    /// DNS named it once, and does so no more.
    pub(super) absent: bool,
}

impl Slot {
    /// An address that the gateway starts with: the first result of its checks decides, so that a start is quick.
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
            ejections: Ejections::default(),
            drain: None,
            announced: None,
            drained: false,
            announced_weight: None,
            serving: Serving::default(),
            absent: false,
        }
    }

    /// An address that is added later: it serves nothing before enough of its checks have passed in a row.
    pub(super) fn newcomer(addr: SocketAddr) -> Self {
        Self { health: Health::DOWN, serving: Serving::NEWCOMER, ..Self::new(addr) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The instance, once it has told a name that no other has.
    pub fn instance(&self) -> Option<&Arc<Instance>> {
        self.instance.as_ref()
    }

    /// Its name, once it is a member.
    pub fn name(&self) -> Option<&InstanceName> {
        self.instance.as_deref().map(Instance::name)
    }

    /// Why it is ejected, or why its last health check failed.
    pub fn last_error(&self) -> Option<&str> {
        self.ejections.why().or(self.last_error.as_deref())
    }

    /// The version of its service, where it names one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Why it is refused, as a label: what listens there is no instance for this pool, has another's name, or does not
    /// answer and never has.
    pub fn refused_for(&self) -> Option<&'static str> {
        match self.state() {
            InstanceState::WrongInstance => self.mismatch,
            InstanceState::DuplicateName => Some("duplicate_name"),
            InstanceState::Pending if self.last_error.is_some() => Some("unreachable"),
            _ => None,
        }
    }

    /// For how long it is ejected at least, while it is.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        self.ejections.left(now)
    }

    /// Its live sessions by its last report, when it reports any.
    pub fn live_sessions(&self) -> Option<u64> {
        self.instance.as_deref().filter(|_| self.reports_sessions).map(Instance::reported_sessions)
    }

    /// How its drain goes, while it is drained.
    pub fn drain(&self, now: Instant) -> Option<control::Drain> {
        self.drain.as_ref().map(|drain| drain.view(now))
    }

    /// Whether it has told its name and its checks pass.
    pub fn is_up(&self) -> bool {
        self.instance.is_some() && self.health.is_up()
    }

    /// What the gateway thinks of it.
    pub fn state(&self) -> InstanceState {
        match (&self.instance, &self.refused) {
            (Some(_), _) if self.drained => InstanceState::Drained,
            _ if self.mismatch.is_some() => InstanceState::WrongInstance,
            (Some(_), _) if self.health.is_up() && self.ejections.why().is_some() => InstanceState::Ejected,
            (Some(_), _) if self.health.is_up() && self.drain.is_some() => InstanceState::Draining,
            (Some(_), _) if self.health.is_up() => InstanceState::Healthy,
            (Some(_), _) => InstanceState::Unhealthy,
            (None, Some(_)) => InstanceState::DuplicateName,
            (None, None) => InstanceState::Pending,
        }
    }
}

/// The name under which an instance is asked for: its own, or its address while it has told none.
pub fn label(name: Option<&InstanceName>, addr: SocketAddr) -> String {
    name.map_or_else(|| addr.to_string(), ToString::to_string)
}
