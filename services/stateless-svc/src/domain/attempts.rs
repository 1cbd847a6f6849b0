//! Failed logins: whoever fails waits.
//!
//! They are counted per username and address, so nobody can lock another address out. Instances
//! share their counts by Redis (`store/attempts`); these are for when it is away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::account::Username;
use super::refusals::network;

/// Failures from this one on have a wait. The ones before are mistypings.
pub const FIRST_WITH_WAIT: u32 = 3;
/// The first wait; each further failure doubles it.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Failures are forgotten after so long without another.
pub const FORGOTTEN_AFTER: Duration = Duration::from_mins(15);
/// Pairs of username and address that are remembered; some 200 bytes each.
const CAPACITY: u64 = 50_000;

/// The failed logins of usernames from addresses. Cheap to clone.
#[derive(Clone)]
pub struct Attempts(Cache<(Username, String), Arc<Failures>>);

struct Failures {
    count: u32,
    wait_until: Instant,
}

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(FORGOTTEN_AFTER).build())
    }
}

impl Attempts {
    /// How long this address must wait before another login as this user; `None` when it need not.
    pub fn wait(&self, user: &Username, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.0.get(&(user.clone(), network(address)))?;
        failures.wait_until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure.
    pub fn failed(&self, user: &Username, address: IpAddr, now: Instant) {
        self.0.entry((user.clone(), network(address))).and_upsert_with(|before| {
            let count = before.map_or(0, |entry| entry.into_value().count).saturating_add(1);
            Arc::new(Failures { count, wait_until: now + wait_after(count) })
        });
    }

    /// Forgets the failures after a login.
    pub fn succeeded(&self, user: &Username, address: IpAddr) {
        self.0.invalidate(&(user.clone(), network(address)));
    }
}

fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FIRST_WITH_WAIT) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_WAIT
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_for_one_address_and_no_other() {
        let attempts = Attempts::default();
        let (ada, bob): (Username, Username) =
            ("ada".parse().expect("a"), "bob".parse().expect("b"));
        let (here, there): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            attempts.failed(&ada, here, now);
            waits.push(attempts.wait(&ada, here, now).map_or(0, |wait| wait.as_secs()));
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(attempts.wait(&ada, there, now), None);
        assert_eq!(attempts.wait(&bob, here, now), None);
        assert_eq!(attempts.wait(&ada, here, now + LONGEST_WAIT), None);
        attempts.succeeded(&ada, here);
        attempts.failed(&ada, here, now);
        assert_eq!(attempts.wait(&ada, here, now), None);
    }
}
