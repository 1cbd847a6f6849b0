//! When a worker's requests are due.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// One time in each period, at random within it. They never depend on when responses come.
///
/// With equal distances the workers would take turns in a fixed order. Nginx takes gateways in turns
/// as well, so each gateway could get one kind of request alone for as long as the load lasts.
pub(super) struct DueTimes {
    period: Duration,
    /// The begin of the next period.
    next: Instant,
    random: StdRng,
}

impl DueTimes {
    pub(super) fn new(begin: Instant, period: Duration, seed: u64) -> Self {
        Self { period, next: begin, random: StdRng::seed_from_u64(seed) }
    }
}

impl Iterator for DueTimes {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let begin = self.next;
        self.next += self.period;
        Some(begin + self.period.mul_f64(self.random.random_range(0.0..1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: u64 = 16;
    const PERIOD: Duration = Duration::from_millis(160);

    #[test]
    fn each_period_has_one_request() {
        let begin = Instant::now();
        for (number, due) in (0..).zip(DueTimes::new(begin, PERIOD, 7)).take(1_000) {
            assert!((PERIOD * number..PERIOD * (number + 1)).contains(&(due - begin)));
        }
    }

    #[test]
    fn servers_that_take_turns_get_as_many_requests_of_each_worker() {
        let begin = Instant::now();
        let mut all: Vec<(Instant, u64)> = (0..WORKERS)
            .flat_map(|worker| {
                DueTimes::new(begin, PERIOD, worker).take(1_000).map(move |due| (due, worker))
            })
            .collect();
        all.sort_unstable();
        let at_first = |worker| {
            let turns = all.iter().step_by(2);
            turns.filter(|(_, by)| *by == worker).count()
        };
        for worker in 0..WORKERS {
            assert!((400..600).contains(&at_first(worker)), "{worker}: {}", at_first(worker));
        }
    }
}
