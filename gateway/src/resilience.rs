//! What keeps a few failing parts, or too many clients, from failing everybody.
//!
//! Each part is a policy of its own section of the configuration, and state that the data path reads and writes without a
//! lock: [`outlier`] leaves out an instance that keeps failing requests, [`retry_budget`] bounds how much repetition adds to
//! the load, [`overload`] sheds what a pool could not answer in good time, [`rate_limit`] what one client sends too much of, and
//! [`holdings`] bounds what one client holds at once.

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

/// What protects one pool.
#[derive(Debug, Default)]
pub struct Guard {
    /// How much of its load may be repetition.
    pub retries: RetryBudget,
    /// How many requests it can answer in good time.
    pub limit: AdaptiveLimit,
}

/// What protects each pool.
#[derive(Debug, Default)]
pub struct Guards([Guard; PoolName::ALL.len()]);

impl Guards {
    /// What protects this one.
    pub fn of(&self, pool: PoolName) -> &Guard {
        &self.0[pool as usize]
    }
}
