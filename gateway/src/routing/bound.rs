//! Bounded load: how many requests an instance may have in flight before a key's next choice serves instead.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::Snapshot;

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
    /// The most requests that an instance may have in flight, the one that is about to be sent included:
    /// ⌈factor × (requests in flight + 1) ÷ usable instances⌉, and the floor at least.
    pub fn limit(self, snapshot: &Snapshot) -> u64 {
        self.limit_at(snapshot.in_flight(), snapshot.usable().len())
    }

    fn limit_at(self, in_flight: u64, instances: usize) -> u64 {
        let mean = (in_flight + 1) as f64 / instances.max(1) as f64;
        // A ratio of counts that fit many times over.
        self.floor.max((self.factor * mean).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_mean_with_a_margin_and_never_below_the_floor() {
        let bound = LoadBound { factor: 1.25, floor: 16 };
        assert_eq!(bound.limit_at(0, 3), 16);
        assert_eq!(bound.limit_at(38, 3), 17, "1.25 × 39 ÷ 3, rounded up");
        assert_eq!(bound.limit_at(299, 3), 125);
        assert_eq!(bound.limit_at(299, 1), 375, "one instance alone is never over its bound");
        assert_eq!(bound.limit_at(0, 0), 16);
    }
}
