//! Weighted round robin: the turns of one round, computed in advance.

/// Maximum turns per round; weights are scaled down to it.
const MAX_TURNS: u64 = 1_024;

/// One round in which each place has turns by its weight, evenly spread: Nginx's smooth weighted
/// round robin.
pub(super) fn smooth(shares: &[(usize, u64)]) -> Vec<usize> {
    let divisor = shares
        .iter()
        .fold(0, |divisor, &(_, share)| greatest_common_divisor(divisor, share))
        .max(1);
    let total: u64 = shares.iter().map(|&(_, share)| share / divisor).sum();
    let scaled = |share: u64| match share / divisor {
        share if total <= MAX_TURNS => share,
        share => (share * MAX_TURNS / total).max(1),
    };
    let mut current: Vec<(usize, u64, i64)> =
        shares.iter().map(|&(place, share)| (place, scaled(share), 0)).collect();
    let turns: u64 = current.iter().map(|&(_, share, _)| share).sum();
    let round = (0..turns).filter_map(|_| {
        for (_, share, credit) in &mut current {
            *credit += *share as i64;
        }
        // The first with the highest current weight.
        let (place, _, credit) =
            current.iter_mut().reduce(|best, next| if next.2 > best.2 { next } else { best })?;
        *credit -= turns as i64;
        Some(*place)
    });
    round.collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_by_weight() {
        assert_eq!(
            smooth(&[(0, 5), (1, 1), (2, 1)]),
            [0, 0, 1, 0, 2, 0, 0],
            "the example of Nginx"
        );
        assert_eq!(smooth(&[(3, 7), (5, 7)]), [3, 5], "equal weights take plain turns");
        assert_eq!(smooth(&[]), [0_usize; 0]);
        let many: Vec<_> = (0..100).map(|place| (place, 1 + 255 * (place as u64 % 2))).collect();
        let turns = smooth(&many);
        assert!(turns.len() < 1_200, "{}", turns.len());
        assert!((0..100).all(|place| turns.contains(&place)), "every member has a turn");
    }
}
