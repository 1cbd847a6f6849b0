//! Refused requests, summed per address and minute: however many there are, the audit log does not
//! grow with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::account::Username;
use super::audit::{Action, EntryId};

/// Sums that are held until they are written; further addresses share one.
const CAPACITY: usize = 4_096;
/// Users that a sum names.
const MAX_USERS: usize = 20;
const MINUTE_MS: i64 = 60_000;

/// The sums that are not written yet.
#[derive(Debug, Default)]
pub struct RefusalSums(BTreeMap<Key, Sum>);

/// What is summed together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When the minute began.
    pub minute: Timestamp,
    /// The address, or the /64 of IPv6; `None` for all others when there are too many.
    pub network: Option<String>,
    pub action: Action,
}

/// A sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    /// Who was tried, or who tried. Some may exist nowhere: a client may send a password as a
    /// username, so the store drops those.
    pub users: BTreeSet<Username>,
}

impl RefusalSums {
    /// Counts a refused request.
    pub fn add(
        &mut self,
        action: Action,
        address: Option<IpAddr>,
        user: Option<&Username>,
        now: Timestamp,
    ) {
        let milliseconds = now.as_millisecond();
        let begin = milliseconds - milliseconds.rem_euclid(MINUTE_MS);
        let minute = Timestamp::from_millisecond(begin).unwrap_or(now);
        let mut key = Key { minute, network: address.map(network), action };
        if self.0.len() >= CAPACITY && !self.0.contains_key(&key) {
            key.network = None;
        }
        let sum = Sum { count: 1, users: user.cloned().into_iter().collect() };
        self.merge(key, sum);
    }

    /// Takes all sums, to write them.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Puts sums back that could not be written.
    pub fn put_back(&mut self, sums: Self) {
        for (key, sum) in sums.0 {
            self.merge(key, sum);
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All sums.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Sum)> {
        self.0.iter()
    }

    fn merge(&mut self, key: Key, sum: Sum) {
        let entry = self.0.entry(key).or_default();
        entry.count += sum.count;
        for user in sum.users {
            if entry.users.len() < MAX_USERS {
                entry.users.insert(user);
            }
        }
    }
}

impl Key {
    /// The id of its entry, the same in every instance.
    pub fn entry_id(&self) -> EntryId {
        let network = self.network.as_deref().unwrap_or_default();
        let digest = Sha256::digest(format!("{} {network}", self.action));
        let bits = digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        EntryId::derived(self.minute, bits)
    }
}

/// What counts as one address: a client of IPv6 has a /64.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let prefix = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            format!("{prefix}/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn requests_are_summed_per_action_address_and_minute() {
        let mut sums = RefusalSums::default();
        let address = |text: &str| Some(text.parse().expect("an address"));
        let (ada, bob): (Username, Username) =
            ("ada".parse().expect("a"), "bob".parse().expect("b"));
        for (action, from, user, when) in [
            (Action::LoginRejected, "192.0.2.1", &ada, "2026-11-28T17:00:00Z"),
            (Action::LoginRejected, "192.0.2.1", &bob, "2026-11-28T17:00:59.999Z"),
            (Action::LoginRejected, "::ffff:192.0.2.1", &bob, "2026-11-28T17:00:30Z"),
            (Action::LoginRejected, "192.0.2.1", &ada, "2026-11-28T17:01:00Z"),
            (Action::LoginDelayed, "192.0.2.1", &ada, "2026-11-28T17:00:00Z"),
            (Action::Forbidden, "2001:db8::1", &ada, "2026-11-28T17:00:00Z"),
            (Action::Forbidden, "2001:db8::ffff:2", &ada, "2026-11-28T17:00:00Z"),
        ] {
            sums.add(action, address(from), Some(user), at(when));
        }
        let shown: Vec<_> = sums
            .iter()
            .map(|(key, sum)| (key.action.as_str(), key.network.as_deref(), sum.count))
            .collect();
        let here = Some("192.0.2.1");
        assert_eq!(
            shown,
            [
                ("login_rejected", here, 3),
                ("login_delayed", here, 1),
                ("forbidden", Some("2001:db8::/64"), 2),
                ("login_rejected", here, 1),
            ]
        );
        let (key, sum) = sums.iter().next().expect("a sum");
        assert_eq!(sum.users, BTreeSet::from([ada, bob]));
        assert_eq!(key.minute, at("2026-11-28T17:00:00Z"));
        let ids: BTreeSet<_> = sums.iter().map(|(key, _)| key.entry_id()).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn memory_and_users_of_a_sum_are_bounded() {
        let mut sums = RefusalSums::default();
        let now = at("2026-11-28T17:00:00Z");
        for address in 0..2 * CAPACITY {
            let address = Ipv6Addr::from_bits(u128::try_from(address).expect("small") << 64);
            sums.add(Action::Forbidden, Some(address.into()), None, now);
        }
        assert_eq!(sums.0.len(), CAPACITY + 1);
        assert_eq!(sums.iter().map(|(_, sum)| sum.count).sum::<u64>(), 2 * CAPACITY as u64);
        for user in 0..100 {
            let user = format!("user{user}").parse().expect("a username");
            sums.add(Action::LoginRejected, None, Some(&user), now);
        }
        assert!(sums.iter().all(|(_, sum)| sum.users.len() <= MAX_USERS));

        let taken = sums.take();
        assert!(sums.is_empty());
        sums.add(Action::LoginRejected, None, None, now);
        sums.put_back(taken);
        let rejected = sums.iter().find(|(key, _)| key.action == Action::LoginRejected);
        assert_eq!(rejected.expect("a sum").1.count, 101);
    }
}
