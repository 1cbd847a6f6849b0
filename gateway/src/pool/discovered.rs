//! What DNS told of a pool, and how the membership follows it.
//!
//! An address that DNS names is an instance. One that it names no more stays one for as long as its health checks pass: an
//! answer may be cut short, or come from a resolver that is behind, and a session's home is worth more than such an answer.
//! An instance that really goes fails its checks and is forgotten then. (Envoy does the same for hosts that are checked.)

use std::net::SocketAddr;
use std::time::Instant;

use proto_contracts::control;

use crate::config::ServiceName;
use crate::pool::slot::Slot;

/// The last good answer, and how the last look-up went.
#[derive(Clone, Debug)]
pub(super) struct Discovered {
    name: ServiceName,
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) found_at: Option<Instant>,
    pub(super) error: Option<String>,
}

impl Discovered {
    /// What an earlier gateway found, until this one has looked.
    pub(super) fn known_before(name: ServiceName, addrs: Vec<SocketAddr>) -> Self {
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

/// When an address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// While the gateway starts: the first check of an instance decides.
    Start,
    /// Later: a newcomer serves nothing before enough of its checks have passed.
    Later,
}

/// What a look-up changed.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Addresses that the pool did not know.
    pub(super) added: Vec<SocketAddr>,
    /// Those that are forgotten.
    pub(super) forgotten: Vec<Slot>,
    /// Whether look-ups succeed now and failed before, or the other way round.
    pub(super) turned: bool,
}
