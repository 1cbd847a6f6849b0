//! What had become of a number by a moment.

use std::time::Duration;

use crate::chaos::ledger::Moment;

/// A number that only grows: the highest price, or the units taken.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// In the order of times; the values grow, too.
    steps: Vec<(Moment, i64)>,
}

impl Timeline {
    /// The highest of the values up to each moment.
    pub(super) fn of_highest(mut values: Vec<(Moment, i64)>) -> Self {
        values.sort_unstable();
        let mut steps: Vec<(Moment, i64)> = Vec::new();
        for (moment, value) in values {
            if steps.last().is_none_or(|(_, highest)| *highest < value) {
                steps.push((moment, value));
            }
        }
        Self { steps }
    }

    /// The sum of the values up to each moment. None is negative.
    pub(super) fn of_sums(mut values: Vec<(Moment, i64)>) -> Self {
        values.sort_unstable();
        let mut sum = 0;
        let steps = values.into_iter().map(|(moment, value)| {
            sum += value;
            (moment, sum)
        });
        Self { steps: steps.collect() }
    }

    /// The steps, to merge them with others.
    pub(super) fn into_steps(self) -> Vec<(Moment, i64)> {
        self.steps
    }

    /// The value before this moment.
    pub(super) fn before(&self, moment: Moment) -> Option<i64> {
        let count = self.steps.partition_point(|(at, _)| *at < moment);
        self.steps.get(count.checked_sub(1)?).map(|(_, value)| *value)
    }

    /// The value at this moment, with what happened just then.
    pub(super) fn at(&self, moment: Moment) -> Option<i64> {
        let count = self.steps.partition_point(|(at, _)| *at <= moment);
        self.steps.get(count.checked_sub(1)?).map(|(_, value)| *value)
    }

    /// For how long there has been a higher value at this moment.
    pub(super) fn age(&self, value: i64, moment: Moment) -> Duration {
        let newer = self.steps.partition_point(|(_, known)| *known <= value);
        let since = self.steps.get(newer).map(|(at, _)| *at);
        since.map_or(Duration::ZERO, |since| moment.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_knows_values_and_ages() {
        let s = Duration::from_secs;
        let highest = Timeline::of_highest(vec![(s(3), 2), (s(1), 5), (s(9), 7)]);
        assert_eq!(
            [s(1), s(2), s(9), s(10)].map(|t| highest.before(t)),
            [None, Some(5), Some(5), Some(7)]
        );
        assert_eq!(highest.at(s(9)), Some(7));
        assert_eq!(highest.age(5, s(12)), s(3));
        assert_eq!(highest.age(7, s(12)), s(0));
        let sums = Timeline::of_sums(vec![(s(3), 2), (s(1), 5)]);
        assert_eq!([s(0), s(1), s(3)].map(|t| sums.at(t)), [None, Some(5), Some(7)]);
        assert_eq!(sums.into_steps(), [(s(1), 5), (s(3), 7)]);
    }
}
