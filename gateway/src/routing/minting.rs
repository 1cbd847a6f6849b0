//! Minting: a new client's key is chosen so that its home has few sessions. Existing keys stay.

use std::cmp::Ordering;

use proto_contracts::AffinityKey;

use crate::pool::{Member, Snapshot};
use crate::routing::sticky;

/// Maximum draws until two candidates have homes that accept new keys. With nine of ten members
/// drained, 256 draws fail once in 500 billion times; then the home is drained or fails over, which
/// is valid.
const MAX_DRAWS: usize = 256;

/// Mints a key: of two candidates whose homes accept new keys, the one whose home has fewer
/// sessions for its weight. A home in slow start accepts only a share.
///
/// Two choices keep the maximum close to the mean (M. Mitzenmacher, "The power of two choices in
/// randomized load balancing", 2001), and need only what instances report.
pub fn mint(snapshot: &Snapshot) -> AffinityKey {
    mint_with(snapshot, AffinityKey::random)
}

fn mint_with(snapshot: &Snapshot, mut draw: impl FnMut() -> AffinityKey) -> AffinityKey {
    let mut first: Option<(AffinityKey, &Member)> = None;
    for _ in 0..MAX_DRAWS {
        let key = draw();
        let takes = |member: &&Member| member.takes_new && member.slow_start.accepts(key);
        let Some(home) = sticky::home(snapshot, key).filter(takes) else { continue };
        let Some((first_key, first_home)) = first else {
            first = Some((key, home));
            continue;
        };
        let second_is_emptier = home.sessions_compared_with(first_home) == Ordering::Less;
        let (key, home) = if second_is_emptier { (key, home) } else { (first_key, first_home) };
        home.instance.count_minted();
        return key;
    }
    first.map_or_else(draw, |(key, home)| {
        home.instance.count_minted();
        key
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use proto_contracts::control::InstanceState;

    use crate::pool::Instance;
    use crate::pool::slow_start::SlowStart;
    use crate::pool::snapshot::Entry;
    use crate::pool::snapshot::tests::{snapshot, weighted};
    use crate::rendezvous::Seed;

    /// A fixed sequence of draws: the keys of a SplitMix64 generator.
    fn draws() -> impl FnMut() -> AffinityKey {
        let mut state = 1_u64;
        move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            AffinityKey::from_bits((state >> 32) as u32)
        }
    }

    #[test]
    fn a_thousand_new_clients_are_spread_evenly() {
        let snapshot = snapshot(&["s1", "s2", "s3"]);
        let mut draw = draws();
        for _ in 0..1_000 {
            mint_with(&snapshot, &mut draw);
        }
        let counts: Vec<_> =
            snapshot.members().iter().map(|member| member.instance.sessions()).collect();
        assert!(counts.iter().all(|count| (325..=342).contains(count)), "{counts:?}");
    }

    #[test]
    fn new_clients_are_spread_by_weight() {
        let members = weighted(&[("s1", 1), ("s2", 2), ("s3", 1)]);
        let mut draw = draws();
        for _ in 0..4_000 {
            mint_with(&members, &mut draw);
        }
        let counts: Vec<_> =
            members.members().iter().map(|member| member.instance.sessions()).collect();
        let expected = [1_000_u64, 2_000, 1_000];
        assert!(
            counts.iter().zip(expected).all(|(count, theory)| count.abs_diff(theory) < 40),
            "{counts:?}"
        );
    }

    #[test]
    fn an_instance_in_slow_start_gets_few_new_clients() {
        let full = snapshot(&["s1", "s2"]);
        full.members().iter().for_each(|member| member.instance.report_sessions(500));
        let slow = full.changed(
            Seed::from_text("test"),
            Some,
            Some(Entry {
                slow_start: SlowStart::after(Duration::ZERO, Duration::from_secs(60)),
                ..Entry::from((
                    Arc::new(Instance::new(
                        "s3".parse().expect("a name"),
                        ([127, 0, 0, 1], 3).into(),
                        None,
                    )),
                    InstanceState::Healthy,
                ))
            }),
        );
        let mut draw = draws();
        let keys: Vec<_> = (0..1_000).map(|_| mint_with(&slow, &mut draw)).collect();
        let newcomer = slow.members()[2].instance.sessions();
        // It accepts a tenth of its third of the keys, so it is 1/30 ÷ (1/3 + 1/3 + 1/30) = 1/21 of
        // the candidates. As the emptiest it is preferred as either of the two: 2 × 1/21.
        assert!((60..=140).contains(&newcomer), "{newcomer} of 1000");
        let home = |key| sticky::home(&slow, key).expect("a home").instance.name().to_string();
        assert_eq!(keys.into_iter().filter(|&key| home(key) == "s3").count() as u64, newcomer);
    }

    #[test]
    fn new_clients_go_to_the_emptiest_instance_until_it_has_caught_up() {
        let snapshot = snapshot(&["s1", "s2", "s3"]);
        let (full, empty) = (&snapshot.members()[0].instance, &snapshot.members()[1].instance);
        full.report_sessions(500);
        let mut draw = draws();
        for _ in 0..300 {
            mint_with(&snapshot, &mut draw);
        }
        // One pair in nine has both candidates on the full one.
        assert!(full.sessions() < 550, "{}", full.sessions());
        assert!(empty.sessions() > 100, "{}", empty.sessions());
    }

    #[test]
    fn no_new_client_is_placed_on_an_unhealthy_instance() {
        let snapshot = snapshot(&["s1", "s2!", "s3"]);
        let mut draw = draws();
        let down = (0..1_000)
            .filter_map(|_| sticky::home(&snapshot, mint_with(&snapshot, &mut draw)))
            .filter(|home| !home.usable)
            .count();
        assert_eq!(down, 0, "of 1000");
    }

    #[test]
    fn no_new_client_is_placed_on_a_drained_instance() {
        let snapshot =
            snapshot(&["s1", "s2>", "s3>", "s4>", "s5>", "s6>", "s7>", "s8>", "s9>", "s10>"]);
        let mut draw = draws();
        let homes =
            (0..1_000).filter_map(|_| sticky::home(&snapshot, mint_with(&snapshot, &mut draw)));
        assert!(homes.map(|home| home.instance.name().as_str()).all(|name| name == "s1"));
    }

    #[test]
    fn an_empty_pool_still_gives_keys() {
        mint(&snapshot(&[]));
    }
}
