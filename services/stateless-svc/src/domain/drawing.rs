//! Random numbers.

use std::ops::RangeInclusive;

use proto_contracts::stateless::{MAX_RANDOM_BOUND, MAX_RANDOM_COUNT};
use rand::{Rng, RngExt as _};

/// A validated request for random numbers: drawing cannot fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    range: RangeInclusive<i64>,
    count: u32,
}

/// An invalid request. The messages name the query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawingError {
    /// `min` is greater than `max`.
    #[error("`min` is {min} and `max` is {max}: `min` must not be greater than `max`")]
    EmptyRange { min: i64, max: i64 },
    /// The bound of this name is beyond ±[`MAX_RANDOM_BOUND`].
    #[error("`{0}` must be from -{MAX_RANDOM_BOUND} to {MAX_RANDOM_BOUND}")]
    Bound(&'static str),
    /// 0, or more than [`MAX_RANDOM_COUNT`].
    #[error("`count` is {0}: it must be 1 to {MAX_RANDOM_COUNT}")]
    Count(u32),
}

impl Drawing {
    /// `count` numbers from `min` to `max`, both included.
    ///
    /// # Errors
    /// See [`DrawingError`].
    pub fn new(min: i64, max: i64, count: u32) -> Result<Self, DrawingError> {
        for (name, bound) in [("min", min), ("max", max)] {
            if !(-MAX_RANDOM_BOUND..=MAX_RANDOM_BOUND).contains(&bound) {
                return Err(DrawingError::Bound(name));
            }
        }
        if min > max {
            return Err(DrawingError::EmptyRange { min, max });
        }
        if !(1..=MAX_RANDOM_COUNT).contains(&count) {
            return Err(DrawingError::Count(count));
        }
        Ok(Self { range: min..=max, count })
    }

    /// Draws uniformly and independently.
    pub fn draw(&self, source: &mut impl Rng) -> Vec<i64> {
        (0..self.count).map(|_| source.random_range(self.range.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn invalid_ranges_and_counts_are_rejected() {
        assert_eq!(Drawing::new(2, 1, 1), Err(DrawingError::EmptyRange { min: 2, max: 1 }));
        for count in [0, MAX_RANDOM_COUNT + 1] {
            assert_eq!(Drawing::new(0, 1, count), Err(DrawingError::Count(count)));
        }
        let (least, most) = (-MAX_RANDOM_BOUND, MAX_RANDOM_BOUND);
        assert!(Drawing::new(least, most, 1).is_ok());
        for (min, max, name) in [
            (least - 1, 0, "min"),
            (i64::MIN, most, "min"),
            (0, most + 1, "max"),
            (0, i64::MAX, "max"),
        ] {
            assert_eq!(Drawing::new(min, max, 1), Err(DrawingError::Bound(name)));
        }
    }

    #[test]
    fn the_distribution_is_uniform() {
        let mut source = StdRng::seed_from_u64(1);
        let values = Drawing::new(1, 6, 1000).expect("a die").draw(&mut source);
        for face in 1..=6 {
            let share = values.iter().filter(|&&value| value == face).count();
            assert!((120..=215).contains(&share), "{face} was drawn {share} times in 1000");
        }
    }

    proptest! {
        #[test]
        fn values_stay_within_the_range(
            a in -MAX_RANDOM_BOUND..=MAX_RANDOM_BOUND,
            b in -MAX_RANDOM_BOUND..=MAX_RANDOM_BOUND,
            count in 1..=MAX_RANDOM_COUNT,
            seed: u64,
        ) {
            let (min, max) = (a.min(b), a.max(b));
            let values = Drawing::new(min, max, count).expect("valid").draw(&mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(values.len(), count as usize);
            prop_assert!(values.iter().all(|value| (min..=max).contains(value)));
        }
    }
}
