//! Results of health checks.

use proto_contracts::health::DrainDecision;
use proto_contracts::{InstanceName, WeightDecision};

use crate::pool::identity::Mismatch;

/// The content of a good health response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The instance's name.
    pub name: InstanceName,
    /// Its live sessions, if it counts them.
    pub live_sessions: Option<u64>,
    /// Seconds until its keys move, if it is drained or stops.
    pub seconds_left: Option<u64>,
    /// An operator's last drain decision, if announced.
    pub decision: Option<DrainDecision>,
    /// Its service's version, if reported.
    pub version: Option<String>,
    /// Its weight, if announced.
    pub weight: Option<WeightDecision>,
    /// Its use of sessions, if it counts it.
    pub sessions: SessionUse,
}

/// What a stateful instance reports of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionUse {
    /// Sessions with a copy in its memory.
    pub hot: Option<u64>,
    /// Successful reads since its start.
    pub reads: Option<u64>,
    /// Those that were served from memory.
    pub memory_reads: Option<u64>,
}

#[cfg(test)]
impl Report {
    /// The report of a healthy instance with that name.
    pub(super) fn of(name: &str) -> Self {
        let name = name.parse().expect("a name");
        Self {
            name,
            live_sessions: None,
            seconds_left: None,
            decision: None,
            version: None,
            weight: None,
            sessions: SessionUse::default(),
        }
    }
}

/// Why a health check failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No response in time.
    #[error("timed out")]
    TimedOut,
    /// The connection failed or broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// This process has no descriptor left, so the instance was not checked.
    #[error("the gateway has no file descriptor left")]
    NoDescriptor,
    /// The status is not 200.
    #[error("responded with {0} instead of 200")]
    Status(u16),
    /// It is not an instance of this pool.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}
