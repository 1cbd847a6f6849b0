//! The membership as the data path sees it: immutable, replaced as a whole.

mod turns;

use std::cmp::Ordering;
use std::sync::Arc;

use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{AffinityKey, Epoch, Weight};

use crate::pool::instance::Instance;
use crate::pool::slow_start::SlowStart;
use crate::rendezvous::{NameHash, Seed, WeightedScore};

/// The input for a member of a snapshot.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Its state.
    pub state: InstanceState,
    /// Its weight.
    pub weight: Weight,
    /// Its share of new load.
    pub slow_start: SlowStart,
}

impl From<(Arc<Instance>, InstanceState)> for Entry {
    /// A member of the default weight.
    fn from((instance, state): (Arc<Instance>, InstanceState)) -> Self {
        Self { instance, state, weight: Weight::ONE, slow_start: SlowStart::OVER }
    }
}

/// One member of a pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// The instance.
    pub instance: Arc<Instance>,
    /// The hash of its name for rendezvous scores.
    pub name_hash: NameHash,
    /// Its state.
    pub state: InstanceState,
    /// Whether it may get requests.
    pub usable: bool,
    /// Whether it gets new keys and round-robin requests: not while it is draining.
    pub takes_new: bool,
    /// Its weight.
    pub weight: Weight,
    /// Its share of new load.
    pub slow_start: SlowStart,
}

impl Member {
    /// Its weighted score of the key.
    #[inline]
    pub fn weighted_score(&self, key: AffinityKey) -> WeightedScore {
        WeightedScore::new(self.name_hash.score(key), self.weight)
    }

    /// Compares sessions relative to weights.
    pub fn sessions_compared_with(&self, other: &Self) -> Ordering {
        let [mine, others] = [self, other].map(|member| member.instance.sessions());
        let [weight, weight_of_other] = [self, other].map(|member| u64::from(member.weight.get()));
        (mine.saturating_mul(weight_of_other)).cmp(&others.saturating_mul(weight))
    }

    fn as_entry(&self) -> Entry {
        let Self { instance, state, weight, slow_start, .. } = self;
        Entry {
            instance: Arc::clone(instance),
            state: *state,
            weight: *weight,
            slow_start: *slow_start,
        }
    }
}

/// A pool's strategy and members at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The routing strategy.
    pub strategy: Strategy,
    /// Fingerprint of the members' names.
    pub epoch: Epoch,
    members: Vec<Member>,
    usable: Vec<usize>,
    in_rotation: Vec<usize>,
    /// A round of turns, if shares differ.
    turns: Option<Vec<usize>>,
    is_weighted: bool,
}

impl Snapshot {
    /// Builds the snapshot of these members.
    ///
    /// When most of a pool fails its checks, the checks are ignored and all members are used, as in
    /// Envoy's panic mode. Ejections apply only while a healthy member is left. Drained instances
    /// are not members; draining ones get nothing new while another member can.
    pub fn new(
        strategy: Strategy,
        seed: Seed,
        members: impl Iterator<Item = impl Into<Entry>>,
    ) -> Self {
        let mut members: Vec<_> = members
            .map(Into::into)
            .filter(|entry| entry.state != InstanceState::Drained)
            .map(|Entry { instance, state, weight, slow_start }| Member {
                name_hash: seed.name_hash(instance.name()),
                usable: matches!(state, InstanceState::Healthy | InstanceState::Draining),
                takes_new: false,
                instance,
                state,
                weight,
                slow_start,
            })
            .collect();
        members.sort_by(|a, b| a.instance.name().cmp(b.instance.name()));
        let count = |state| members.iter().filter(|member| member.state == state).count();
        let panic_mode = 2 * count(InstanceState::Unhealthy) > members.len();
        let none_left = count(InstanceState::Healthy) == 0;
        for member in &mut members {
            member.usable |= panic_mode && member.state == InstanceState::Unhealthy;
            member.usable |= none_left && member.state == InstanceState::Ejected;
            member.takes_new = member.usable && member.state != InstanceState::Draining;
        }
        if !members.iter().any(|member| member.takes_new) {
            members.iter_mut().for_each(|member| member.takes_new = member.usable);
        }
        // Equal weights rank as no weights.
        let is_weighted = members.iter().any(|member| member.weight != members[0].weight);
        let named = members
            .iter()
            .map(|member| (member.instance.name(), is_weighted.then_some(member.weight)));
        let epoch = Epoch::from_bits(seed.fingerprint(named));
        let usable = (0..members.len()).filter(|&i| members[i].usable).collect();
        let in_rotation: Vec<_> = (0..members.len()).filter(|&i| members[i].takes_new).collect();
        let share = |i: usize| {
            u64::from(members[i].weight.get()) * u64::from(members[i].slow_start.percent())
        };
        let shares: Vec<_> = in_rotation.iter().map(|&i| (i, share(i))).collect();
        let differ = shares.iter().any(|&(_, share)| share != shares[0].1);
        let turns = differ.then(|| turns::smooth(&shares));
        Self { strategy, epoch, members, usable, in_rotation, turns, is_weighted }
    }

    /// A copy with changed members; those for which `change` returns `None` are removed.
    pub fn changed(
        &self,
        seed: Seed,
        change: impl Fn(Entry) -> Option<Entry>,
        joining: Option<Entry>,
    ) -> Self {
        let members = self.members.iter().map(Member::as_entry).filter_map(change).chain(joining);
        Self::new(self.strategy, seed, members)
    }

    /// Whether weights differ, so that they affect homes.
    #[inline]
    pub fn is_weighted(&self) -> bool {
        self.is_weighted
    }

    /// Sum of the usable members' weights.
    pub fn usable_shares(&self) -> u64 {
        self.usable.iter().map(|&place| u64::from(self.members[place].weight.get())).sum()
    }

    /// A round of turns, as places in [`Self::members`].
    pub fn turns(&self) -> &[usize] {
        self.turns.as_deref().unwrap_or(&self.in_rotation)
    }

    /// All members, ordered by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Places in [`Self::members`] of usable members.
    pub fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// Places in [`Self::members`] of members that get new load.
    pub fn in_rotation(&self) -> &[usize] {
        &self.in_rotation
    }

    /// The member at that place.
    pub fn member(&self, place: usize) -> &Member {
        &self.members[place]
    }

    /// Sum of the usable members' requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.usable.iter().map(|&place| self.members[place].instance.in_flight()).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sticky snapshot of healthy members with these weights.
    pub(crate) fn weighted(members: &[(&str, u16)]) -> Snapshot {
        let entries = members.iter().zip(1..).map(|(&(name, shares), port)| {
            let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let instance = Arc::new(Instance::new(name.parse().expect("a name"), addr, None));
            let weight = Weight::new(shares).expect("a weight");
            Entry { weight, ..Entry::from((instance, InstanceState::Healthy)) }
        });
        Snapshot::new(Strategy::Sticky, Seed::from_text("test"), entries)
    }

    /// A sticky snapshot of these names; one that ends in `!` is down, in `~` ejected, in `>` being
    /// drained, in `.` drained.
    pub(crate) fn snapshot(names: &[&str]) -> Snapshot {
        let members = names.iter().zip(1..).map(|(name, port)| {
            let state = match name.chars().last() {
                Some('!') => InstanceState::Unhealthy,
                Some('~') => InstanceState::Ejected,
                Some('>') => InstanceState::Draining,
                Some('.') => InstanceState::Drained,
                _ => InstanceState::Healthy,
            };
            let name = name.trim_end_matches(['!', '~', '>', '.']);
            let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            (Arc::new(Instance::new(name.parse().expect("a name"), addr, None)), state)
        });
        Snapshot::new(Strategy::Sticky, Seed::from_text("test"), members)
    }

    fn usable(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.usable().iter().map(|&i| snapshot.member(i).instance.name().as_str()).collect()
    }

    #[test]
    fn members_that_fail_are_not_used() {
        assert_eq!(usable(&snapshot(&["c", "a!", "b"])), ["b", "c"]);
        assert_eq!(usable(&snapshot(&["a!", "b"])), ["b"]);
    }

    #[test]
    fn checks_that_fail_most_of_a_pool_are_ignored() {
        assert_eq!(usable(&snapshot(&["a!", "b!", "c"])), ["a", "b", "c"]);
        assert_eq!(usable(&snapshot(&["a!"])), ["a"]);
    }

    #[test]
    fn ejections_apply_while_a_healthy_member_is_left() {
        assert_eq!(usable(&snapshot(&["a~", "b"])), ["b"]);
        assert_eq!(
            usable(&snapshot(&["a~", "b!", "c"])),
            ["c"],
            "only one of three fails its checks"
        );
        assert_eq!(
            usable(&snapshot(&["a~", "b!"])),
            ["a"],
            "better than one that fails its checks"
        );
        assert_eq!(usable(&snapshot(&["a~", "b!", "c!"])), ["a", "b", "c"]);
    }

    #[test]
    fn draining_members_get_no_new_keys_while_another_is_available() {
        let new = |names: &[&str]| {
            let snapshot = snapshot(names);
            let place = |&place: &usize| snapshot.member(place).instance.name().to_string();
            snapshot.in_rotation().iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(usable(&snapshot(&["a>", "b", "c."])), ["a", "b"]);
        assert_eq!(new(&["a>", "b", "c."]), ["b"]);
        assert_eq!(new(&["a>", "b>"]), ["a", "b"], "there is no other");
        assert_eq!(new(&["a>", "b~"]), ["b"]);
        assert_eq!(snapshot(&["a>", "b", "c."]).epoch, snapshot(&["a", "b"]).epoch);
    }

    #[test]
    fn the_epoch_identifies_the_membership() {
        let epoch = |names: &[&str]| snapshot(names).epoch;
        assert_eq!(epoch(&["a", "b"]), epoch(&["b", "a!"]), "order and health do not count");
        assert_ne!(epoch(&["a", "b"]), epoch(&["a"]));
        assert_ne!(epoch(&["a", "b"]), epoch(&["ab"]));
        let weighted = |a, b| weighted(&[("a", a), ("b", b)]).epoch;
        assert_eq!(weighted(3, 3), epoch(&["a", "b"]), "equal weights are none");
        assert!(weighted(1, 2) != epoch(&["a", "b"]) && weighted(1, 2) != weighted(2, 1));
    }

    #[test]
    fn slow_start_begins_with_a_tenth_of_the_requests() {
        let members = weighted(&[("a", 1), ("b", 1)]);
        let slow = members.changed(
            Seed::from_text("test"),
            |entry| {
                let is_slow = entry.instance.name().as_str() == "b";
                let window = std::time::Duration::from_secs(60);
                let slow_start = if is_slow {
                    SlowStart::after(std::time::Duration::ZERO, window)
                } else {
                    SlowStart::OVER
                };
                Some(Entry { slow_start, ..entry })
            },
            None,
        );
        let of = |place| slow.turns().iter().filter(|&&turn| turn == place).count();
        assert_eq!((of(0), of(1)), (10, 1));
        assert_eq!((slow.epoch, members.turns()), (members.epoch, &[0, 1][..]), "no home moves");
    }
}
