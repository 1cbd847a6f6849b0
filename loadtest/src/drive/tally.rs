//! Counts of requests since the start, and their rate.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use proto_contracts::PoolName;
use proto_contracts::control::{PoolTraffic, TrafficFailure};

use crate::outcome::ErrorKind;

/// The seconds that a rate covers.
const WINDOW_S: u64 = 5;

/// The requests of both pools.
pub(super) struct Tally {
    since: Instant,
    /// In the order of [`PoolName::ALL`].
    pools: [PoolTally; 2],
}

#[derive(Default)]
struct PoolTally {
    requests: u64,
    failures: HashMap<ErrorKind, u64>,
    /// The last seconds since the start that had a request, and their numbers of requests.
    seconds: VecDeque<(u64, u64)>,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn starting_at(since: Instant) -> Self {
        Self { since, pools: <[PoolTally; 2]>::default() }
    }

    /// Counts a request that ended now.
    pub(super) fn count(&mut self, now: Instant, pool: PoolName, outcome: Result<(), ErrorKind>) {
        let second = now.saturating_duration_since(self.since).as_secs();
        let place = PoolName::ALL.iter().position(|known| *known == pool).unwrap_or_default();
        let pool = &mut self.pools[place];
        pool.requests += 1;
        if let Err(kind) = outcome {
            *pool.failures.entry(kind).or_default() += 1;
        }
        match pool.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => pool.seconds.push_back((second, 1)),
        }
        while pool.seconds.front().is_some_and(|(first, _)| first + WINDOW_S < second) {
            pool.seconds.pop_front();
        }
    }

    /// The figures of both pools.
    pub(super) fn show(&self, now: Instant) -> Vec<PoolTraffic> {
        let second = now.saturating_duration_since(self.since).as_secs();
        // The present second is not complete, unless there is no other.
        let (from, to) = (second.saturating_sub(WINDOW_S), second.max(1));
        let rate = |pool: &PoolTally| {
            let counted = pool.seconds.iter().filter(|(at, _)| (from..to).contains(at));
            counted.map(|(_, count)| count).sum::<u64>() as f64 / (to - from) as f64
        };
        let show = |(name, pool): (PoolName, &PoolTally)| {
            let mut failures: Vec<_> = pool
                .failures
                .iter()
                .map(|(kind, &count)| TrafficFailure { kind: kind.to_string(), count })
                .collect();
            failures.sort_by(|a, b| (Reverse(a.count), &a.kind).cmp(&(Reverse(b.count), &b.kind)));
            PoolTraffic {
                pool: name,
                requests_per_s: rate(pool),
                requests: pool.requests,
                failures,
            }
        };
        PoolName::ALL.into_iter().zip(&self.pools).map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto_contracts::ErrorCode;

    use super::*;

    fn rate(tally: &Tally, start: Instant, ms: u64) -> f64 {
        tally.show(start + Duration::from_millis(ms))[0].requests_per_s
    }

    #[test]
    fn a_rate_is_that_of_the_last_five_complete_seconds() {
        let start = Instant::now();
        let mut tally = Tally::starting_at(start);
        assert_eq!(rate(&tally, start, 0), 0.0);
        for second in 0..8 {
            for _ in 0..=second {
                let at = start + Duration::from_millis(second * 1_000 + 500);
                tally.count(at, PoolName::Stateless, Ok(()));
            }
            if second == 0 {
                assert_eq!(rate(&tally, start, 900), 1.0, "there is no complete second yet");
            }
        }
        // Seconds 2 to 6 had 3 to 7 requests; the eighth is not complete.
        assert_eq!(rate(&tally, start, 7_900), 5.0);
        assert_eq!(rate(&tally, start, 8_000), 6.0);
        assert_eq!(rate(&tally, start, 12_000), 8.0 / 5.0, "after the end it goes down");
        assert_eq!(rate(&tally, start, 13_000), 0.0);
        assert_eq!(tally.show(start)[1].requests, 0, "of the other pool");
    }

    #[test]
    fn failures_are_counted_by_kind_the_most_frequent_first() {
        let start = Instant::now();
        let mut tally = Tally::starting_at(start);
        let lost = ErrorKind::Problem(ErrorCode::SessionNotFound);
        for outcome in
            [Ok(()), Err(ErrorKind::Connect), Err(lost), Err(ErrorKind::Timeout), Err(lost)]
        {
            tally.count(start, PoolName::Stateful, outcome);
        }
        let pool = &tally.show(start)[1];
        assert_eq!((pool.pool, pool.requests), (PoolName::Stateful, 5));
        let shown: Vec<_> =
            pool.failures.iter().map(|failure| (failure.kind.as_str(), failure.count)).collect();
        assert_eq!(shown, [("session_not_found", 2), ("connect", 1), ("timeout", 1)]);
    }
}
