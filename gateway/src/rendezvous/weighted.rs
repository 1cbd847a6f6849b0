//! Scores of members whose weights differ: the logarithmic form of rendezvous hashing.
//!
//! A member of weight w whose hash with the key is u, evenly spread over (0, 1), scores w ÷ −ln u.
//! The highest score is member i's with the probability wᵢ ÷ Σw, and a change of one weight changes
//! that member's scores alone: keys move to it or from it, and as few as any scheme can. Source: C.
//! Schindelhauer, G. Schomaker, "Weighted distributed hash tables", 2005.
//!
//! **Invariant:** integers alone. The logarithm of a floating-point library may differ in its last
//! bit from platform to platform, and two gateways would then disagree on a key.

use std::cmp::Ordering;

use proto_contracts::Weight;

/// Bits after the point of a logarithm.
const FRACTION: u32 = 48;
const ONE: u64 = 1 << FRACTION;
/// Segments of the table between 1 and 2. Within a segment the logarithm is interpolated linearly,
/// with an error of at most 1.7 × 10⁻⁷.
const SEGMENTS: usize = 1 << 10;
const TABLE: [u64; SEGMENTS + 1] = table();

/// The score of a key at a weighted member; the highest is the key's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedScore {
    /// −log₂ u. A lower cost is a higher score.
    cost: u64,
    weight: u64,
    /// Breaks ties, so that members of equal weight rank exactly as unweighted ones.
    hash: u64,
}

impl WeightedScore {
    /// The score of a member of this weight whose hash with the key is this.
    #[inline]
    pub fn new(hash: u64, weight: Weight) -> Self {
        Self { cost: 64 * ONE - log2(hash | 1), weight: u64::from(weight.get()), hash }
    }

    /// Weight ÷ −ln u, for display.
    pub fn value(self) -> f64 {
        let nats = self.cost.max(1) as f64 / ONE as f64 * std::f64::consts::LN_2;
        self.weight as f64 / nats
    }
}

impl Default for WeightedScore {
    /// Lower than any other.
    fn default() -> Self {
        Self { cost: 65 * ONE, weight: 1, hash: 0 }
    }
}

impl Ord for WeightedScore {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // Costs have 55 bits and weights 9: the products fit.
        let (mine, others) = (self.cost * other.weight, other.cost * self.weight);
        others.cmp(&mine).then(self.hash.cmp(&other.hash))
    }
}

impl PartialOrd for WeightedScore {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// log₂ of a number that is not 0. It is monotonic.
#[inline]
fn log2(x: u64) -> u64 {
    let zeros = x.leading_zeros();
    // What follows the leading 1, as a fraction of 2⁶⁴.
    let fraction = (x << zeros) << 1;
    let segment = (fraction >> 54) as usize;
    let within = (fraction >> 30) & ((1 << 24) - 1);
    let (low, high) = (TABLE[segment], TABLE[segment + 1]);
    u64::from(63 - zeros) * ONE + low + (((high - low) * within) >> 24)
}

const fn table() -> [u64; SEGMENTS + 1] {
    let mut table = [0; SEGMENTS + 1];
    let mut i = 0;
    while i < SEGMENTS {
        table[i] = log2_bits(i);
        i += 1;
    }
    table[SEGMENTS] = ONE;
    table
}

/// log₂(1 + i ÷ SEGMENTS), a bit at a time: squaring doubles the logarithm.
const fn log2_bits(i: usize) -> u64 {
    const POINT: u32 = 62;
    let mut x = (1_u128 << POINT) + ((i as u128) << (POINT - 10));
    let (mut bits, mut bit) = (0, 0);
    while bit < FRACTION {
        x = (x * x) >> POINT;
        bits <<= 1;
        if x >> (POINT + 1) != 0 {
            bits |= 1;
            x >>= 1;
        }
        bit += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weight(shares: u16) -> Weight {
        Weight::new(shares).expect("a weight")
    }

    #[test]
    fn the_logarithm_is_right_to_its_stated_error_and_the_same_everywhere() {
        for x in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) | 1, u64::MAX >> bit]) {
            let error = (log2(x) as f64 / ONE as f64 - (x as f64).log2()).abs();
            assert!(error < 2e-7, "log2({x}) is wrong by {error}");
        }
        // A recorded value: every platform must compute the same bits.
        let written = [
            (1, 0),
            (3, 446_127_282_977_750),
            (0x0123_4567_89ab_cdef, 15_815_014_619_088_829),
            (u64::MAX, 18_014_398_509_470_162),
        ];
        assert_eq!(written.map(|(x, _)| (x, log2(x))), written);
    }

    proptest! {
        #[test]
        fn the_logarithm_never_falls(x in 1_u64.., step in 0_u64..1 << 40) {
            prop_assert!(log2(x.saturating_add(step)) >= log2(x));
        }

        #[test]
        fn members_of_equal_weight_rank_by_hash(a: u64, b: u64, shares in 1_u16..=256) {
            let [one, other] = [a, b].map(|hash| WeightedScore::new(hash, weight(shares)));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
        }

        #[test]
        fn more_weight_never_scores_less(hash: u64, shares in 1_u16..256) {
            let [less, more] =
                [shares, shares + 1].map(|shares| WeightedScore::new(hash, weight(shares)));
            prop_assert!(more >= less && less > WeightedScore::default());
            prop_assert!(more.value() >= less.value());
        }
    }
}
