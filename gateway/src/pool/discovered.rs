//! The addresses of a pool's DNS name.
//!
//! An address in the records is an instance. One that disappears stays a member while its health
//! checks pass, because a response may be truncated or stale and sessions would lose their homes.
//! Once its checks fail it is removed, as Envoy does for hosts with health checks.

use std::net::SocketAddr;
use std::time::Instant;

use proto_contracts::control;

use crate::config::ServiceName;
use crate::pool::host::Host;

/// The last good response, and the outcome of the last lookup.
#[derive(Clone, Debug)]
pub(super) struct Discovered {
    name: ServiceName,
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) found_at: Option<Instant>,
    pub(super) error: Option<String>,
}

impl Discovered {
    /// The saved addresses, until the first lookup.
    pub(super) fn restored(name: ServiceName, addrs: Vec<SocketAddr>) -> Self {
        Self { name, addrs, found_at: None, error: None }
    }

    pub(super) fn name(&self) -> &ServiceName {
        &self.name
    }

    pub(super) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// As the control API shows it.
    pub(super) fn view(&self, now: Instant) -> control::Discovery {
        control::Discovery {
            name: self.name.to_string(),
            addresses: self.addrs.len(),
            found_s_ago: self.found_at.map(|at| now.saturating_duration_since(at).as_secs()),
            error: self.error.clone(),
        }
    }
}

/// When a lookup happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupPhase {
    /// At the start: the first check of an instance decides.
    Start,
    /// Later: a new instance needs enough passing checks.
    Later,
}

/// The changes of a lookup.
#[derive(Debug, Default)]
pub(super) struct LookupChange {
    /// New addresses.
    pub(super) added: Vec<SocketAddr>,
    /// Removed addresses.
    pub(super) forgotten: Vec<Host>,
    /// Whether the lookup before failed.
    pub(super) recovered: bool,
}
