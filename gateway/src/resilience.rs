//! Protection against failing instances and excess load.
//!
//! Each part has a policy from the configuration, and state without a lock: [`outlier`] ejects
//! instances that fail requests, [`retry_budget`] limits retries, [`overload`] sheds load,
//! [`load_bound`] spreads sticky load, [`rate_limit`] limits the request rate of a client and
//! [`holdings`] its concurrency.

pub mod holdings;
pub mod load_bound;
pub mod outlier;
pub mod overload;
pub mod rate_limit;
pub mod retry_budget;
mod window;

use proto_contracts::PoolName;

use crate::resilience::overload::AdaptiveLimit;
use crate::resilience::retry_budget::RetryBudget;

/// The protection of one pool.
#[derive(Debug, Default)]
pub struct Guard {
    /// Limits its retries.
    pub retries: RetryBudget,
    /// Limits its requests in flight by latency.
    pub limit: AdaptiveLimit,
}

/// The protection of each pool.
#[derive(Debug, Default)]
pub struct Guards([Guard; PoolName::ALL.len()]);

impl Guards {
    /// The protection of this pool.
    pub fn of(&self, pool: PoolName) -> &Guard {
        &self.0[pool as usize]
    }
}
