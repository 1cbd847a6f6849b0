//! What a health check finds.

use proto_contracts::health::DrainDecision;
use proto_contracts::{InstanceName, WeightDecision};

use crate::pool::identity::Mismatch;

/// What a good health answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who it is.
    pub name: InstanceName,
    /// How many live sessions it holds, if it counts any.
    pub live_sessions: Option<u64>,
    /// In how many seconds its keys move away, when it is drained or stops.
    pub seconds_left: Option<u64>,
    /// An operator's last decision about that, where its version announces one and it does not stop.
    pub decision: Option<DrainDecision>,
    /// The version of its service, where that names one.
    pub version: Option<String>,
    /// Its weight, where its version announces one.
    pub weight: Option<WeightDecision>,
}

#[cfg(test)]
impl Report {
    /// What an instance of that name reports that serves as usual.
    pub(super) fn of(name: &str) -> Self {
        let name = name.parse().expect("a name");
        Self { name, live_sessions: None, seconds_left: None, decision: None, version: None, weight: None }
    }
}

/// Why a health check failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection could not be made, or broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// This process has no descriptor left, which says nothing of the instance.
    #[error("the gateway has no descriptor left")]
    NoDescriptor,
    /// It answered, and not with 200.
    #[error("answered {0} instead of 200")]
    Status(u16),
    /// What answered is no instance for this pool.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}
