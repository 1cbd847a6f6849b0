//! The membership as the data path sees it: immutable, replaced whole.

use std::sync::Arc;

use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{AffinityKey, Epoch};

use crate::pool::Instance;
use crate::routing::rendezvous::{NameHash, Seed};
use crate::routing::sticky;

/// One member of a pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Its name's share of each rendezvous score.
    pub name_hash: NameHash,
    /// What its health checks say.
    pub state: InstanceState,
    /// Whether requests may be sent to it.
    pub usable: bool,
    /// Whether new keys and round-robin requests may go to it: not while it is drained.
    pub takes_new: bool,
}

/// A pool's strategy and members at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// By which code path requests are routed.
    pub strategy: Strategy,
    /// Fingerprint of the members' names.
    pub epoch: Epoch,
    members: Vec<Member>,
    usable: Vec<usize>,
    in_rotation: Vec<usize>,
}

impl Snapshot {
    /// Builds the snapshot of these members.
    ///
    /// When most of a pool fails its checks at once, the checks are the likelier fault: all members are used then, and
    /// a connection that fails leads on to the next. Ejections stand only while a healthy member is left. Who is drained is no
    /// member; who is being drained takes nothing new while any other can.
    pub fn new(strategy: Strategy, seed: Seed, members: impl Iterator<Item = (Arc<Instance>, InstanceState)>) -> Self {
        let mut members: Vec<_> = members
            .filter(|&(_, state)| state != InstanceState::Drained)
            .map(|(instance, state)| Member {
                name_hash: seed.name_hash(instance.name()),
                usable: matches!(state, InstanceState::Healthy | InstanceState::Draining),
                takes_new: false,
                instance,
                state,
            })
            .collect();
        members.sort_by(|a, b| a.instance.name().cmp(b.instance.name()));
        let count = |state| members.iter().filter(|member| member.state == state).count();
        let distrusted = 2 * count(InstanceState::Unhealthy) > members.len();
        let none_left = count(InstanceState::Healthy) == 0;
        for member in &mut members {
            member.usable |= distrusted && member.state == InstanceState::Unhealthy;
            member.usable |= none_left && member.state == InstanceState::Ejected;
            member.takes_new = member.usable && member.state != InstanceState::Draining;
        }
        if !members.iter().any(|member| member.takes_new) {
            members.iter_mut().for_each(|member| member.takes_new = member.usable);
        }
        let epoch = Epoch::from_bits(seed.fingerprint(members.iter().map(|member| member.instance.name())));
        let usable = (0..members.len()).filter(|&i| members[i].usable).collect();
        let in_rotation = (0..members.len()).filter(|&i| members[i].takes_new).collect();
        Self { strategy, epoch, members, usable, in_rotation }
    }

    /// All members, ordered by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Places in [`Self::members`] of those that requests may be sent to.
    pub fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// Places in [`Self::members`] of those that anything new may be sent to.
    pub fn in_rotation(&self) -> &[usize] {
        &self.in_rotation
    }

    /// The member at that place.
    pub fn member(&self, place: usize) -> &Member {
        &self.members[place]
    }

    /// Requests in flight at all usable members together.
    pub fn in_flight(&self) -> u64 {
        self.usable.iter().map(|&place| self.members[place].instance.in_flight()).sum()
    }

    /// How many of `sample` evenly spread keys have their home at each member, in the members' order.
    pub fn homes_of_sample(&self, sample: u32) -> Vec<u32> {
        let mut counts = vec![0; self.members.len()];
        for key in sample_keys(sample) {
            let home = sticky::home(self, key).map(|member| member.instance.name());
            if let Some(place) = self.members.iter().position(|member| Some(member.instance.name()) == home) {
                counts[place] += 1;
            }
        }
        counts
    }
}

/// `count` keys spread evenly over all that there are: the multiples of 2³² divided by the golden ratio.
pub fn sample_keys(count: u32) -> impl Iterator<Item = AffinityKey> {
    (0..count).map(|i| AffinityKey::from_bits(i.wrapping_mul(0x9e37_79b9)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sticky snapshot of these names; one that ends in `!` is down, in `~` ejected, in `>` being drained, in
    /// `.` drained.
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
            (Arc::new(Instance::new(name.parse().expect("a name"), addr)), state)
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
    fn checks_that_fail_most_of_a_pool_are_distrusted() {
        assert_eq!(usable(&snapshot(&["a!", "b!", "c"])), ["a", "b", "c"]);
        assert_eq!(usable(&snapshot(&["a!"])), ["a"]);
    }

    #[test]
    fn ejections_stand_while_a_healthy_member_is_left() {
        assert_eq!(usable(&snapshot(&["a~", "b"])), ["b"]);
        assert_eq!(usable(&snapshot(&["a~", "b!", "c"])), ["c"], "only one of three fails its checks");
        assert_eq!(usable(&snapshot(&["a~", "b!"])), ["a"], "better than one that fails its checks");
        assert_eq!(usable(&snapshot(&["a~", "b!", "c!"])), ["a", "b", "c"]);
    }

    #[test]
    fn who_is_drained_takes_nothing_new_while_another_can() {
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
    fn the_epoch_tells_memberships_apart_and_nothing_else() {
        let epoch = |names: &[&str]| snapshot(names).epoch;
        assert_eq!(epoch(&["a", "b"]), epoch(&["b", "a!"]), "order and health do not count");
        assert_ne!(epoch(&["a", "b"]), epoch(&["a"]));
        assert_ne!(epoch(&["a", "b"]), epoch(&["ab"]));
    }
}
