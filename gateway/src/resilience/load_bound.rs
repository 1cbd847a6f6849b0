//! Bounded load: how many requests an instance may have in flight before a request spills to the
//! next in the ranking.

use std::sync::atomic::{AtomicU64, Ordering};

use proto_contracts::Weight;

/// The bound of consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016),
/// with a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadBound {
    /// Factor over the mean; 1.25 is 25 % above it.
    pub factor: f64,
    /// Below this many in flight an instance is never skipped: they are a few milliseconds of work,
    /// and uneven by chance. With a floor of 16, one in forty reads of 64 evenly busy connections
    /// spilled (`make bench`); with 64 none does.
    pub floor: u64,
}

/// A pool's bound, shared with the data path. A concurrent reload may mix old and new values;
/// either is valid.
#[derive(Debug, Default)]
pub struct SharedBound {
    /// The bits of the factor; zero: no bound.
    factor: AtomicU64,
    floor: AtomicU64,
}

impl SharedBound {
    /// A shared bound with this value.
    pub fn new(bound: Option<LoadBound>) -> Self {
        let shared = Self::default();
        shared.set(bound);
        shared
    }

    /// The current bound.
    pub fn get(&self) -> Option<LoadBound> {
        let factor = f64::from_bits(self.factor.load(Ordering::Relaxed));
        (factor > 0.0).then(|| LoadBound { factor, floor: self.floor.load(Ordering::Relaxed) })
    }

    /// Replaces the bound.
    pub fn set(&self, bound: Option<LoadBound>) {
        self.floor.store(bound.map_or(0, |bound| bound.floor), Ordering::Relaxed);
        self.factor.store(bound.map_or(0.0, |bound| bound.factor).to_bits(), Ordering::Relaxed);
    }
}

impl LoadBound {
    /// The limits while the usable members have `in_flight` requests and `usable_shares` weight in
    /// total.
    pub fn limits(self, in_flight: u64, usable_shares: u64) -> Limits {
        let mean = (in_flight + 1) as f64 / usable_shares.max(1) as f64;
        Limits { per_share: self.factor * mean, floor: self.floor }
    }
}

/// The limit of requests in flight per instance, including the one to be sent:
/// ⌈factor × (requests in flight + 1) × its share of the usable weights⌉, at least the floor.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests per unit of weight.
    per_share: f64,
    floor: u64,
}

impl Limits {
    /// The limit of a member of this weight.
    pub fn of(self, weight: Weight) -> u64 {
        // Far below the range of a `u64`.
        self.floor.max((self.per_share * f64::from(weight.get())).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: LoadBound = LoadBound { factor: 1.25, floor: 16 };

    #[test]
    fn the_bound_is_the_mean_with_a_margin_and_never_below_the_floor() {
        let limit = |in_flight, instances| BOUND.limits(in_flight, instances).of(Weight::ONE);
        assert_eq!(limit(0, 3), 16);
        assert_eq!(limit(38, 3), 17, "1.25 × 39 ÷ 3, rounded up");
        assert_eq!(limit(299, 3), 125);
        assert_eq!(limit(299, 1), 375, "one instance alone is never over its bound");
        assert_eq!(limit(0, 0), 16);
    }

    #[test]
    fn the_bound_is_proportional_to_the_weight() {
        let limits = BOUND.limits(399, 4);
        assert_eq!(
            [1, 2].map(|shares| limits.of(Weight::new(shares).expect("a weight"))),
            [125, 250]
        );
    }
}
