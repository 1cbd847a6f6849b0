//! What the gateway counts of each instance, from one look to the next.

use std::collections::BTreeMap;

use proto_contracts::PoolName;
use serde::{Serialize, Serializer};
use service_kit::telemetry::metrics::DURATION_BUCKETS;

use crate::figures::Sample;

/// The metrics that are read, without their common beginning.
const BEGINNING: &str = "gateway_upstream_";

/// Counts of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests sent to it.
    pub(super) requests: u64,
    /// Those that it failed.
    pub(super) failed: u64,
    /// Those that it rejected.
    pub(super) rejected: u64,
    /// Its responses by the bucket of their time.
    pub(super) times: Times,
}

/// How many responses took up to each of [`DURATION_BUCKETS`] and more than the bound before it; the
/// last ones took longer than all bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times([u64; DURATION_BUCKETS.len() + 1]);

impl Times {
    /// Those that took longer than the bound at this place.
    pub(super) fn above(&self, place: usize) -> u64 {
        self.0[place + 1..].iter().sum()
    }

    /// All.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Their p99 in seconds, interpolated within its bucket; `None` without a response, or above
    /// all bounds.
    pub(super) fn p99(&self) -> Option<f64> {
        let wanted = 0.99 * self.total() as f64;
        let mut below = 0.0;
        for (place, count) in self.0.iter().enumerate() {
            let upto = below + *count as f64;
            if upto >= wanted && *count > 0 {
                let lower = place.checked_sub(1).map_or(0.0, |place| DURATION_BUCKETS[place]);
                let upper = DURATION_BUCKETS.get(place)?;
                return Some(lower + (upper - lower) * (wanted - below) / *count as f64);
            }
            below = upto;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn at(seconds: f64, count: u64) -> Self {
        let mut times = Self::default();
        times.0[DURATION_BUCKETS.partition_point(|bound| *bound < seconds)] = count;
        times
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            requests: u64,
            failed: u64,
            rejected: u64,
            p99_ms: Option<f64>,
        }
        let Self { requests, failed, rejected, times } = *self;
        let p99_ms = times.p99().map(|seconds| (seconds * 1_000_000.0).round() / 1_000.0);
        Shown { requests, failed, rejected, p99_ms }.serialize(serializer)
    }
}

impl Counts {
    /// The sum of both.
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// The same without times.
    pub(super) fn without_times(self) -> Self {
        Self { times: Times::default(), ..self }
    }

    /// What was counted since an earlier look. After a restart of the gateway, or another join of
    /// the instance, the counters began at 0 again.
    fn since(&self, before: &Self) -> Self {
        let began_again = self.requests < before.requests
            || self.failed < before.failed
            || self.rejected < before.rejected
            || self.times.total() < before.times.total();
        if began_again { *self } else { self.with(before, u64::saturating_sub) }
    }

    fn with(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: join(self.requests, other.requests),
            failed: join(self.failed, other.failed),
            rejected: join(self.rejected, other.rejected),
            times: Times(std::array::from_fn(|i| join(self.times.0[i], other.times.0[i]))),
        }
    }
}

/// Reads the counters of a pool's instances from Prometheus' text format, by the instance's name.
pub(super) fn read(text: &str, pool: PoolName) -> BTreeMap<String, Counts> {
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    let lines = text.lines().filter(|line| line.starts_with(BEGINNING));
    for sample in lines.filter_map(Sample::parse) {
        let of_pool = sample.label("pool") == Some(pool.as_str());
        let Some(upstream) = sample.label("upstream").filter(|_| of_pool) else { continue };
        let counts = all.entry(upstream.to_owned()).or_default();
        let value = sample.value as u64;
        match &sample.name[BEGINNING.len()..] {
            "requests" => counts.requests = value,
            "failures" => counts.failed = value,
            "rejections" => counts.rejected = value,
            "response_seconds_bucket" => {
                let bound = sample.label("le").and_then(|bound| bound.parse::<f64>().ok());
                let Some(bound) = bound else { continue };
                // Of `+Inf` it is the last place.
                counts.times.0[DURATION_BUCKETS.partition_point(|known| *known < bound)] = value;
            }
            _ => {}
        }
    }
    for Times(counts) in all.values_mut().map(|counts| &mut counts.times) {
        // The format's buckets are cumulative.
        let mut below = 0;
        for count in counts {
            (*count, below) = (count.saturating_sub(below), below.max(*count));
        }
    }
    all
}

/// An instance at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Its counters.
    pub(super) counts: Counts,
    /// Whether it is healthy.
    pub(super) serves: bool,
}

/// Adds up what is counted from look to look.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    before: BTreeMap<String, Reading>,
    totals: BTreeMap<String, Counts>,
}

impl Tracker {
    /// Adds what was counted since the look before. The first look is where counting begins. Of an
    /// instance other than the canary only counts while it serves, since it is a measure for what
    /// is normal.
    pub(super) fn look(&mut self, canary: &str, now: BTreeMap<String, Reading>) {
        for (name, reading) in &now {
            let Some(before) = self.before.get(name) else { continue };
            if name == canary || (before.serves && reading.serves) {
                let total = self.totals.entry(name.clone()).or_default();
                *total = total.plus(&reading.counts.since(&before.counts));
            }
        }
        // One that is gone for a moment may come back with its counters, or from 0.
        self.before.extend(now);
    }

    /// Forgets the times until now.
    pub(super) fn forget_times(&mut self) {
        self.totals.values_mut().for_each(|counts| *counts = counts.without_times());
    }

    /// What was counted of the canary, and of each other instance.
    pub(super) fn totals(&self, canary: &str) -> (Counts, Vec<Counts>) {
        let others = self.totals.iter().filter(|(name, _)| *name != canary);
        let own = self.totals.get(canary).copied().unwrap_or_default();
        (own, others.map(|(_, counts)| *counts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# TYPE gateway_upstream_requests gauge
gateway_upstream_requests{pool="stateless",upstream="stateless-1"} 100
gateway_upstream_requests{pool="stateful",upstream="stateful-1"} 7
gateway_upstream_failures{pool="stateless",upstream="stateless-1"} 2
gateway_upstream_rejections{pool="stateless",upstream="stateless-1"} 3
gateway_upstream_response_seconds_bucket{pool="stateless",upstream="stateless-1",le="0.0005"} 10
gateway_upstream_response_seconds_bucket{pool="stateless",upstream="stateless-1",le="0.001"} 60
gateway_upstream_response_seconds_bucket{pool="stateless",upstream="stateless-1",le="+Inf"} 98
gateway_upstream_response_seconds_count{pool="stateless",upstream="stateless-1"} 98
gateway_affinity_total{pool="stateless",verdict="off"} 100
"#;

    fn requests(requests: u64) -> Counts {
        Counts { requests, ..Counts::default() }
    }

    fn looks<'a>(all: impl IntoIterator<Item = (&'a str, u64, bool)>) -> BTreeMap<String, Reading> {
        let read = |(name, count, serves): (&str, u64, bool)| {
            (name.to_owned(), Reading { counts: requests(count), serves })
        };
        all.into_iter().map(read).collect()
    }

    #[test]
    fn counters_are_read_by_pool_and_instance() {
        let all = read(TEXT, PoolName::Stateless);
        let counts = all["stateless-1"];
        assert_eq!((all.len(), counts.requests, counts.failed, counts.rejected), (1, 100, 2, 3));
        assert_eq!(counts.times.0[..3], [10, 50, 0]);
        assert_eq!((counts.times.total(), counts.times.0.last()), (98, Some(&38)));
        assert_eq!(read("nonsense\n", PoolName::Stateless), BTreeMap::new());
    }

    #[test]
    fn counting_begins_at_the_first_look_and_goes_on_over_restarts() {
        let mut tracker = Tracker::default();
        tracker.look("c", looks([("c", 5, true), ("p", 1_000, true)]));
        assert_eq!(tracker.totals("c"), (requests(0), vec![]));
        tracker.look("c", looks([("c", 15, true), ("p", 1_020, true)]));
        // The gateway restarted: the canary is absent, then both count from 0.
        tracker.look("c", looks([("p", 4, true)]));
        tracker.look("c", looks([("c", 3, true), ("p", 9, true)]));
        assert_eq!(tracker.totals("c"), (requests(13), vec![requests(29)]));
    }

    #[test]
    fn others_count_while_they_serve_and_the_canary_always_does() {
        let mut tracker = Tracker::default();
        for (count, serves) in [(0, true), (10, false), (30, false), (60, true), (100, true)] {
            tracker.look("c", looks([("c", count, serves), ("p", count, serves)]));
        }
        assert_eq!(tracker.totals("c"), (requests(100), vec![requests(40)]));
    }

    #[test]
    fn a_p99_is_interpolated_and_unknown_above_all_bounds() {
        let times = |all: &[(f64, u64)]| {
            all.iter().fold(Counts::default(), |sum, (seconds, count)| {
                let times = Times::at(*seconds, *count);
                sum.plus(&Counts { times, ..Counts::default() })
            })
        };
        assert_eq!(times(&[]).times.p99(), None);
        assert_eq!(times(&[(0.001, 98), (0.01, 2)]).times.p99(), Some(0.0075));
        assert_eq!(times(&[(0.001, 50), (60.0, 50)]).times.p99(), None);
    }
}
