//! Bounded load: how many requests an instance may have in flight before a key's next choice serves instead.

use std::sync::atomic::{AtomicU64, Ordering};

use proto_contracts::Weight;

/// The bound of consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016), with a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadBound {
    /// By how much an instance may exceed the mean; 1.25 is 25 per cent.
    pub factor: f64,
    /// Below so many requests in flight an instance is never passed over: they are a few milliseconds of its work, and spread
    /// unevenly by chance. A session that leaves its home for that costs more than it spares: with a floor of 16, one in
    /// forty reads of 64 evenly busy connections was spilled (`make bench`), and none is with one of 64.
    pub floor: u64,
}

/// A pool's bound, which a reload changes while requests read it. Both halves stand alone: a request that reads them in the
/// moment of a change takes the one of before and the one of now, and is bounded all the same.
#[derive(Debug, Default)]
pub struct SharedBound {
    /// The bits of the factor; those of zero mean no bound.
    factor: AtomicU64,
    floor: AtomicU64,
}

impl SharedBound {
    /// Starts with this bound.
    pub fn new(bound: Option<LoadBound>) -> Self {
        let shared = Self::default();
        shared.set(bound);
        shared
    }

    /// The bound now.
    pub fn get(&self) -> Option<LoadBound> {
        let factor = f64::from_bits(self.factor.load(Ordering::Relaxed));
        (factor > 0.0).then(|| LoadBound { factor, floor: self.floor.load(Ordering::Relaxed) })
    }

    /// The bound from now on.
    pub fn set(&self, bound: Option<LoadBound>) {
        self.floor.store(bound.map_or(0, |bound| bound.floor), Ordering::Relaxed);
        self.factor.store(bound.map_or(0.0, |bound| bound.factor).to_bits(), Ordering::Relaxed);
    }
}

impl LoadBound {
    /// The most requests that each instance may have in flight, while the usable ones of these weights have so many together.
    pub fn limits(self, in_flight: u64, usable_shares: u64) -> Limits {
        let mean = (in_flight + 1) as f64 / usable_shares.max(1) as f64;
        Limits { per_share: self.factor * mean, floor: self.floor }
    }
}

/// How many requests each instance of a pool may have in flight, the one that is about to be sent included:
/// ⌈factor × (requests in flight + 1) × its share of the usable instances' weights⌉, and the floor at least.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests for each unit of weight.
    per_share: f64,
    floor: u64,
}

impl Limits {
    /// The limit of a member of this weight.
    pub fn of(self, weight: Weight) -> u64 {
        // A ratio of counts that fit many times over.
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
    fn an_instance_may_have_what_its_weight_is_worth() {
        let limits = BOUND.limits(399, 4);
        assert_eq!([1, 2].map(|shares| limits.of(Weight::new(shares).expect("a weight"))), [125, 250]);
    }
}
