//! Hysteresis of health checks: a single result does not change an instance's health.

use crate::config::Thresholds;

/// The health of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Not checked yet: the first result decides.
    Unknown,
    /// Healthy.
    Up {
        /// Consecutive failures.
        fails: u32,
    },
    /// Unhealthy.
    Down {
        /// Consecutive successes.
        passes: u32,
    },
}

impl Health {
    /// Whether it is healthy.
    pub(super) const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Unhealthy, as shown by requests before the next checks.
    pub(super) const DOWN: Self = Self::Down { passes: 0 };

    /// The health after a passed check.
    #[must_use]
    pub(super) const fn pass(self, thresholds: Thresholds) -> Self {
        match self {
            Self::Unknown | Self::Up { .. } => Self::Up { fails: 0 },
            Self::Down { passes } if passes + 1 >= thresholds.passes => Self::Up { fails: 0 },
            Self::Down { passes } => Self::Down { passes: passes + 1 },
        }
    }

    /// The health after a failed check.
    #[must_use]
    pub(super) const fn fail(self, thresholds: Thresholds) -> Self {
        match self {
            Self::Unknown | Self::Down { .. } => Self::Down { passes: 0 },
            Self::Up { fails } if fails + 1 >= thresholds.fails => Self::Down { passes: 0 },
            Self::Up { fails } => Self::Up { fails: fails + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { fails: 3, passes: 2 };

    /// Feeds `+` and `-` and shows after each whether the instance is up.
    fn run(results: &str) -> String {
        let mut health = Health::Unknown;
        results
            .chars()
            .map(|result| {
                health =
                    if result == '+' { health.pass(THRESHOLDS) } else { health.fail(THRESHOLDS) };
                if health.is_up() { 'U' } else { 'd' }
            })
            .collect()
    }

    #[test]
    fn the_first_result_decides() {
        assert_eq!(run("+"), "U");
        assert_eq!(run("-"), "d");
    }

    #[test]
    fn three_failures_in_a_row_and_two_passes_in_a_row() {
        assert_eq!(run("+--+---+-++"), "UUUUUUddddU");
        assert_eq!(run("+---+-+-+"), "UUUdddddd");
    }
}
