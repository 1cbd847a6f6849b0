//! The stateful path: the home of the client's key, or the next in its ranking.

use std::cmp::Reverse;
use std::sync::Arc;

use proto_contracts::{AffinityKey, Verdict};

use crate::pool::{Instance, Member, Snapshot};
use crate::routing::bound::LoadBound;
use crate::routing::{KeyOrigin, is_tried};

/// What the ranking of a key gave.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The highest in rank that can be used.
    pub member: &'a Member,
    /// Whether that is the home.
    pub place: Place,
}

/// Where in the ranking of a key an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// First: it is the key's home.
    Home,
    /// Further down: the home is down, or was tried in vain.
    Further,
    /// Further down: who stands above, the home or its stand-in, has as many requests in flight as its load bound allows.
    Spilled,
}

/// The highest member in the key's ranking that can be used, was not tried before, and is within its load bound; where all
/// are over it, the highest. `None` when no member is left, or none that has fewer than `max_in_flight` requests in flight;
/// without a bound no other may stand in for one that only has too much to do.
///
/// The home is defined over all members, healthy or not, so that a key goes back when its home does.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    key: AffinityKey,
    tried: &[Arc<Instance>],
    bound: Option<LoadBound>,
    max_in_flight: u64,
) -> Option<Found<'a>> {
    let first = highest(snapshot, key, |member| !is_tried(member, tried))?;
    let in_flight = first.member.instance.in_flight();
    let has_room = in_flight < max_in_flight;
    let Some(bound) = bound else { return has_room.then_some(first) };
    // The floor first: to know the limit costs a look at every member.
    if in_flight < bound.floor.min(max_in_flight) {
        return Some(first);
    }
    let limit = bound.limit(snapshot).min(max_in_flight);
    if in_flight < limit {
        return Some(first);
    }
    let fits = |member: &Member| !is_tried(member, tried) && member.instance.in_flight() < limit;
    let next = highest(snapshot, key, fits).map(|next| Found { place: Place::Spilled, ..next });
    next.or(has_room.then_some(first))
}

/// The highest usable member that fits.
fn highest<'a>(snapshot: &'a Snapshot, key: AffinityKey, fits: impl Fn(&Member) -> bool) -> Option<Found<'a>> {
    let mut home_score = 0;
    let mut best: Option<(u64, &Member)> = None;
    for member in snapshot.members() {
        let score = member.name_hash.score(key);
        home_score = home_score.max(score);
        let usable = member.usable && fits(member);
        if usable && best.is_none_or(|(best_score, _)| score > best_score) {
            best = Some((score, member));
        }
    }
    let (score, member) = best?;
    let place = if score == home_score { Place::Home } else { Place::Further };
    Some(Found { member, place })
}

/// The key's home, healthy or not; `None` when the pool has no member.
pub fn home(snapshot: &Snapshot, key: AffinityKey) -> Option<&Member> {
    snapshot
        .members()
        .iter()
        .reduce(|best, member| if member.name_hash.score(key) > best.name_hash.score(key) { member } else { best })
}

/// All members with their scores, the home first: the order of failover.
pub fn ranking(snapshot: &Snapshot, key: AffinityKey) -> Vec<(u64, &Member)> {
    let mut ranking: Vec<_> = snapshot.members().iter().map(|member| (member.name_hash.score(key), member)).collect();
    ranking.sort_by_key(|&(score, _)| Reverse(score));
    ranking
}

/// Why the sticky path chose as it did.
pub const fn verdict(place: Place, origin: KeyOrigin) -> Verdict {
    match (place, origin) {
        (Place::Further, _) => Verdict::Failover,
        (Place::Spilled, _) => Verdict::Spilled,
        (Place::Home, KeyOrigin::Client) => Verdict::Home,
        (Place::Home, KeyOrigin::Minted) => Verdict::New,
        (Place::Home, KeyOrigin::Replaced) => Verdict::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::snapshot::tests::snapshot;
    use crate::pool::{InFlight, Load};

    const KEYS: u32 = 10_000;

    fn homes(snapshot: &Snapshot) -> Vec<&str> {
        (0..KEYS)
            .filter_map(|bits| home(snapshot, AffinityKey::from_bits(bits.wrapping_mul(0x9e37_79b9))))
            .map(|member| member.instance.name().as_str())
            .collect()
    }

    #[test]
    fn a_newcomer_takes_its_share_and_nothing_else_moves() {
        let before = snapshot(&["s1", "s2", "s3"]);
        let after = snapshot(&["s1", "s2", "s3", "s4"]);
        let (before, after) = (homes(&before), homes(&after));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!((2_200..=2_800).contains(&moved.len()), "{} of {KEYS} moved", moved.len());
        assert!(moved.iter().all(|(_, to)| **to == "s4"), "only to the newcomer");
    }

    #[test]
    fn the_order_in_which_members_joined_does_not_matter() {
        assert_eq!(homes(&snapshot(&["s1", "s2", "s3"])), homes(&snapshot(&["s3", "s1", "s2"])));
    }

    #[test]
    fn who_is_over_its_bound_is_passed_over_for_the_next_in_rank() {
        let members = snapshot(&["s1", "s2", "s3"]);
        let key = AffinityKey::from_bits(7);
        let bound = Some(LoadBound { factor: 1.25, floor: 4 });
        let ranking: Vec<_> = ranking(&members, key).into_iter().map(|(_, member)| &member.instance).collect();
        let choose = |tried: &[Arc<Instance>]| choose(&members, key, tried, bound, u64::MAX).expect("one is left");
        let send = |place: usize| InFlight::begin(Arc::clone(ranking[place]), Load::Counts);

        let mut in_flight: Vec<_> = (0..3).map(|_| send(0)).collect();
        assert_eq!(choose(&[]).place, Place::Home, "below the floor");
        in_flight.push(send(0));
        let spilled = choose(&[]);
        assert!(spilled.place == Place::Spilled && Arc::ptr_eq(&spilled.member.instance, ranking[1]));
        in_flight.extend((0..4).map(|_| send(1)));
        assert!(Arc::ptr_eq(&choose(&[]).member.instance, ranking[2]), "the next one is full, too");
        in_flight.extend((0..4).map(|_| send(2)));
        // Of 12, five are 1.25 × 13 ÷ 3 and a bit: now there is room again.
        assert_eq!(choose(&[]).place, Place::Home, "the bound grows with the load");
        in_flight.extend((0..2).flat_map(|_| (0..3).map(send).collect::<Vec<_>>()));
        let home = [Arc::clone(ranking[0])];
        assert_eq!(choose(&home).place, Place::Further, "it was tried: that is a failover");
        in_flight.extend((0..4).map(|_| send(1)));
        let spilled = choose(&home);
        assert_eq!(spilled.place, Place::Spilled, "its stand-in is full: that one must keep its copies, too");
        assert!(Arc::ptr_eq(&spilled.member.instance, ranking[2]));
        drop(in_flight);
        let streams: Vec<_> = (0..40).map(|_| InFlight::begin(Arc::clone(ranking[0]), Load::Stream)).collect();
        assert_eq!(choose(&[]).place, Place::Home, "streams don't count");
        assert_eq!((ranking[0].in_flight(), ranking[0].streams()), (0, 40));
        drop(streams);
        assert_eq!(ranking[0].streams(), 0);
    }

    proptest! {
        #[test]
        fn failover_follows_the_ranking(bits: u32) {
            let key = AffinityKey::from_bits(bits);
            let members = snapshot(&["s1", "s2", "s3", "s4", "s5"]);
            let ranking = ranking(&members, key);
            let mut tried = Vec::new();
            for (rank, (_, expected)) in ranking.iter().enumerate() {
                let found = choose(&members, key, &tried, None, u64::MAX).expect("one is left");
                prop_assert_eq!(found.member.instance.name(), expected.instance.name());
                prop_assert_eq!(found.place, if rank == 0 { Place::Home } else { Place::Further });
                tried.push(Arc::clone(&found.member.instance));
            }
            prop_assert!(choose(&members, key, &tried, None, u64::MAX).is_none());
        }

        #[test]
        fn a_member_that_is_down_keeps_its_keys_and_serves_none(bits: u32) {
            let key = AffinityKey::from_bits(bits);
            let up = snapshot(&["s1", "s2", "s3"]);
            let down = snapshot(&["s1", "s2!", "s3"]);
            let home_name = home(&up, key).expect("a home").instance.name().clone();
            prop_assert_eq!(home(&down, key).expect("a home").instance.name(), &home_name);
            let found = choose(&down, key, &[], None, u64::MAX).expect("two are up");
            prop_assert_ne!(found.member.instance.name().as_str(), "s2");
            prop_assert_eq!(found.place == Place::Home, home_name.as_str() != "s2");
        }
    }
}
