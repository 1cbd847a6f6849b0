//! Sticky routing: the home of the client's key, or the next in its ranking.

use std::cmp::Reverse;
use std::sync::Arc;

use proto_contracts::{AffinityKey, Verdict};

use crate::pool::{Instance, Member, Snapshot};
use crate::resilience::load_bound::LoadBound;
use crate::routing::client_key::{KeyOrigin, is_tried};

/// The choice from a key's ranking.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The highest-ranked usable member.
    pub member: &'a Member,
    /// Whether it is the home.
    pub place: Place,
}

/// The position of the choice in the ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The key's home.
    Home,
    /// A failover: the home is down, or was tried.
    Further,
    /// A spill: the member above is over its load bound.
    Spilled,
}

/// The highest-ranked member that is usable, was not tried and is within its load bound; if all are
/// over it, the highest-ranked. `None` when none is left with fewer than `max_in_flight` requests
/// in flight; without a load bound an overloaded home has no substitute.
///
/// The home is defined over all members, healthy or not, so that a key returns when its home does.
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
    // The floor first: computing the limits visits every member.
    if in_flight < bound.floor.min(max_in_flight) {
        return Some(first);
    }
    let limits = bound.limits(snapshot.in_flight(), snapshot.usable_shares());
    let has_room_for =
        |member: &Member| member.instance.in_flight() < limits.of(member.weight).min(max_in_flight);
    if has_room_for(first.member) {
        return Some(first);
    }
    let fits = |member: &Member| !is_tried(member, tried) && has_room_for(member);
    let next = highest(snapshot, key, fits).map(|next| Found { place: Place::Spilled, ..next });
    next.or(has_room.then_some(first))
}

/// The highest-ranked usable member that fits.
fn highest<'a>(
    snapshot: &'a Snapshot,
    key: AffinityKey,
    fits: impl Fn(&Member) -> bool,
) -> Option<Found<'a>> {
    if snapshot.is_weighted() {
        return highest_by(snapshot, fits, |member| member.weighted_score(key));
    }
    highest_by(snapshot, fits, |member| member.name_hash.score(key))
}

/// The same by these scores; the default is the lowest.
#[inline]
fn highest_by<'a, S: Ord + Copy + Default>(
    snapshot: &'a Snapshot,
    fits: impl Fn(&Member) -> bool,
    score: impl Fn(&Member) -> S,
) -> Option<Found<'a>> {
    let mut home_score = S::default();
    let mut best: Option<(S, &Member)> = None;
    for member in snapshot.members() {
        let score = score(member);
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
    if snapshot.is_weighted() {
        return home_by(snapshot, |member| member.weighted_score(key));
    }
    home_by(snapshot, |member| member.name_hash.score(key))
}

#[inline]
fn home_by<S: Ord>(snapshot: &Snapshot, score: impl Fn(&Member) -> S) -> Option<&Member> {
    snapshot
        .members()
        .iter()
        .reduce(|best, member| if score(member) > score(best) { member } else { best })
}

/// All members with their hashes, the home first: the order of failover.
pub fn ranking(snapshot: &Snapshot, key: AffinityKey) -> Vec<(u64, &Member)> {
    let mut ranking: Vec<_> =
        snapshot.members().iter().map(|member| (member.name_hash.score(key), member)).collect();
    if snapshot.is_weighted() {
        ranking.sort_by_key(|&(_, member)| Reverse(member.weighted_score(key)));
    } else {
        ranking.sort_by_key(|&(score, _)| Reverse(score));
    }
    ranking
}

/// The verdict of a sticky choice.
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
    use crate::pool::snapshot::tests::{snapshot, weighted};
    use crate::pool::{InFlight, Load};
    use crate::rendezvous::Seed;

    const KEYS: u32 = 10_000;

    fn homes(snapshot: &Snapshot) -> Vec<&str> {
        (0..KEYS)
            .filter_map(|bits| {
                home(snapshot, AffinityKey::from_bits(bits.wrapping_mul(0x9e37_79b9)))
            })
            .map(|member| member.instance.name().as_str())
            .collect()
    }

    #[test]
    fn a_new_instance_takes_its_share_and_no_other_key_moves() {
        let before = snapshot(&["s1", "s2", "s3"]);
        let after = snapshot(&["s1", "s2", "s3", "s4"]);
        let (before, after) = (homes(&before), homes(&after));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!((2_200..=2_800).contains(&moved.len()), "{} of {KEYS} moved", moved.len());
        assert!(moved.iter().all(|(_, to)| **to == "s4"), "only to the newcomer");
    }

    /// The share of 100,000 keys whose home each member is, in per cent, and the homes.
    fn shares(members: &Snapshot) -> (Vec<f64>, Vec<usize>) {
        const KEYS: u32 = 100_000;
        let place = |member: &Member| {
            members
                .members()
                .iter()
                .position(|other| std::ptr::eq(other, member))
                .expect("a member")
        };
        let home_of =
            |bits: u32| home(members, AffinityKey::from_bits(bits.wrapping_mul(0x9e37_79b9)));
        let homes: Vec<_> = (0..KEYS).filter_map(home_of).map(place).collect();
        let share = |place| {
            100.0 * homes.iter().filter(|home| **home == place).count() as f64 / f64::from(KEYS)
        };
        ((0..members.members().len()).map(share).collect(), homes)
    }

    #[test]
    fn homes_are_proportional_to_weights_within_a_point() {
        for weights in
            [vec![1, 2, 1], vec![1, 1, 3, 5], vec![256, 1, 128], vec![3; 7], vec![1, 10, 100]]
        {
            let names: Vec<_> =
                (1..=weights.len()).map(|number| format!("stateful-{number}")).collect();
            let members: Vec<_> =
                names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
            let total: u16 = weights.iter().sum();
            let (measured, _) = shares(&weighted(&members));
            for (share, weight) in measured.iter().zip(&weights) {
                let theory = 100.0 * f64::from(*weight) / f64::from(total);
                assert!(
                    (share - theory).abs() < 1.0,
                    "{weights:?}: {share} %, by theory {theory} %"
                );
            }
            eprintln!("weights {weights:?}: {measured:?} % of 100,000 keys");
        }
    }

    #[test]
    fn a_change_of_one_weight_moves_the_theoretical_minimum() {
        let of = |a, b, c| weighted(&[("stateful-1", a), ("stateful-2", b), ("stateful-3", c)]);
        for (before, after, place) in [
            ((1, 1, 1), (1, 2, 1), 1),
            ((1, 2, 1), (1, 3, 1), 1),
            ((1, 2, 1), (1, 1, 1), 1),
            ((4, 2, 1), (4, 2, 8), 2),
            ((100, 2, 1), (1, 2, 1), 0),
        ] {
            let [(before, then), (after, now)] =
                [before, after].map(|(a, b, c)| ([a, b, c], shares(&of(a, b, c)).1));
            let theory = |weights: [u16; 3]| {
                100.0 * f64::from(weights[place]) / f64::from(weights.iter().sum::<u16>())
            };
            let must_move = (theory(after) - theory(before)).abs();
            let moved: Vec<_> = then.iter().zip(&now).filter(|(then, now)| then != now).collect();
            let grows = after[place] > before[place];
            let is_needed = |&&(then, now): &&(&usize, &usize)| {
                if grows { *now == place } else { *then == place }
            };
            assert_eq!(
                moved.iter().filter(is_needed).count(),
                moved.len(),
                "to it or from it, and between no others"
            );
            let measured = 100.0 * moved.len() as f64 / then.len() as f64;
            assert!(
                (measured - must_move).abs() < 1.0,
                "{before:?} to {after:?}: {measured} %, by theory {must_move} %"
            );
            eprintln!(
                "weights {before:?} to {after:?}: {measured:.2} % of the keys move, by theory \
                 {must_move:.2} %"
            );
        }
    }

    #[test]
    fn equal_weights_rank_as_none_at_all() {
        let names = ["s1", "s2", "s3", "s4", "s5"];
        let plain = snapshot(&names);
        let of = |shares| weighted(&names.map(|name| (name, shares)));
        // One of them weighs more, so the others are ranked by the weighted score.
        let mixed = weighted(&[("s1", 2), ("s2", 1), ("s3", 1), ("s4", 1), ("s5", 1)]);
        let ranked = |snapshot: &Snapshot, key| {
            let names = ranking(snapshot, key)
                .into_iter()
                .map(|(_, member)| member.instance.name().to_string());
            names.collect::<Vec<_>>()
        };
        for bits in 0..5_000_u32 {
            let key = AffinityKey::from_bits(bits.wrapping_mul(0x9e37_79b9));
            // The ranking of before there were weights.
            let mut hashed: Vec<_> = names.iter().map(|name| name.to_string()).collect();
            let hash = |name: &str| {
                Seed::from_text("test").name_hash(&name.parse().expect("a name")).score(key)
            };
            hashed.sort_by_key(|name| Reverse(hash(name)));
            assert_eq!(ranked(&plain, key), hashed);
            assert_eq!(ranked(&of(1), key), hashed);
            assert_eq!(ranked(&of(7), key), hashed);
            let without = |names: Vec<String>| {
                names.into_iter().filter(|name| name != "s1").collect::<Vec<_>>()
            };
            assert_eq!(without(ranked(&mixed, key)), without(hashed));
        }
        assert!(!of(7).is_weighted() && mixed.is_weighted());
    }

    #[test]
    fn the_order_in_which_members_joined_does_not_matter() {
        assert_eq!(homes(&snapshot(&["s1", "s2", "s3"])), homes(&snapshot(&["s3", "s1", "s2"])));
    }

    #[test]
    fn a_member_over_its_bound_is_skipped_for_the_next_in_rank() {
        let members = snapshot(&["s1", "s2", "s3"]);
        let key = AffinityKey::from_bits(7);
        let bound = Some(LoadBound { factor: 1.25, floor: 4 });
        let ranking: Vec<_> =
            ranking(&members, key).into_iter().map(|(_, member)| &member.instance).collect();
        let choose = |tried: &[Arc<Instance>]| {
            choose(&members, key, tried, bound, u64::MAX).expect("one is left")
        };
        let send = |place: usize| InFlight::begin(Arc::clone(ranking[place]), Load::Counts);

        let mut in_flight: Vec<_> = (0..3).map(|_| send(0)).collect();
        assert_eq!(choose(&[]).place, Place::Home, "below the floor");
        in_flight.push(send(0));
        let spilled = choose(&[]);
        assert!(
            spilled.place == Place::Spilled && Arc::ptr_eq(&spilled.member.instance, ranking[1])
        );
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
        assert_eq!(
            spilled.place,
            Place::Spilled,
            "its stand-in is full: that one must keep its copies, too"
        );
        assert!(Arc::ptr_eq(&spilled.member.instance, ranking[2]));
        drop(in_flight);
        let streams: Vec<_> =
            (0..40).map(|_| InFlight::begin(Arc::clone(ranking[0]), Load::Stream)).collect();
        assert_eq!(choose(&[]).place, Place::Home, "streams don't count");
        assert_eq!((ranking[0].in_flight(), ranking[0].streams()), (0, 40));
        drop(streams);
        assert_eq!(ranking[0].streams(), 0);
    }

    proptest! {
        #[test]
        fn failover_follows_the_ranking(bits: u32, shares in prop::array::uniform5(1_u16..=256)) {
            let key = AffinityKey::from_bits(bits);
            let names = ["s1", "s2", "s3", "s4", "s5"];
            let members = weighted(&std::array::from_fn::<_, 5, _>(|i| (names[i], shares[i])));
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
