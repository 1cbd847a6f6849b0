//! What is seen of a canary, look by look, and when that is enough.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proto_contracts::control::{Instance, InstanceState, Pool, PutBack};
use tokio::time::Instant;

use super::compare::{self, AT_A_LOOK, Worse};
use super::counts::{self, Counts, Reading, Tracker};
use crate::ctl::show;

/// How long it may take until it is healthy.
const JOINS_WITHIN: Duration = Duration::from_secs(60);
/// How long its health checks may fail after that.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// How long a canary is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// At least.
    pub(super) at_least: Duration,
    /// At most, while there are fewer requests.
    pub(super) at_most: Duration,
    /// At its start, when its times do not count.
    pub(super) warm_up: Duration,
    /// Requests that it needs, and the others together.
    pub(super) requests: u64,
}

/// How watching ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is as good as the others.
    AsGood,
    /// It is not, or nobody knows.
    Worse(Worse),
}

/// The pool at one moment.
pub(super) struct Look {
    name: Option<String>,
    state: Option<InstanceState>,
    last_error: Option<String>,
    readings: BTreeMap<String, Reading>,
}

impl Look {
    /// The pool, with the gateway's metrics of its instances.
    pub(super) fn new(canary: SocketAddr, pool: &Pool, metrics: &str) -> Self {
        let counts = counts::read(metrics, pool.name);
        // Another canary is no measure.
        let is_measure =
            |instance: &&Instance| instance.addr == canary || instance.lease_s.is_none();
        let readings = pool.instances.iter().filter(is_measure).filter_map(|instance| {
            let name = show::name(instance);
            let counts = *counts.get(&name)?;
            Some((name, Reading { counts, serves: instance.state == InstanceState::Healthy }))
        });
        let readings = readings.collect();
        let instance = pool.instances.iter().find(|instance| instance.addr == canary);
        Self {
            name: instance.and_then(|instance| Some(instance.name.as_ref()?.to_string())),
            state: instance.map(|instance| instance.state),
            last_error: instance.and_then(|instance| instance.last_error.clone()),
            readings,
        }
    }
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    rule: Rule,
    begin: Instant,
    name: Option<String>,
    /// When it was healthy for the first time.
    joined: Option<Instant>,
    /// When it was healthy last.
    served: Instant,
    /// The last look.
    now: Instant,
    is_warm: bool,
    tracker: Tracker,
}

impl Watch {
    pub(super) fn new(rule: Rule, now: Instant) -> Self {
        Self {
            rule,
            begin: now,
            name: None,
            joined: None,
            served: now,
            now,
            is_warm: false,
            tracker: Tracker::default(),
        }
    }

    /// Its name, once it is known.
    pub(super) fn name(&self) -> Option<String> {
        self.name.clone()
    }

    /// How long it was watched until the last look.
    pub(super) fn seconds(&self) -> f64 {
        self.now.saturating_duration_since(self.joined.unwrap_or(self.begin)).as_secs_f64()
    }

    /// What was counted of it, and of each other instance.
    pub(super) fn totals(&self) -> (Counts, Vec<Counts>) {
        self.tracker.totals(self.name.as_deref().unwrap_or_default())
    }

    /// What was seen so far, in words.
    pub(super) fn progress(&self) -> String {
        let (canary, others) = self.totals();
        let name = self.name.as_deref().unwrap_or("it");
        format!("{name}, {:.0} s: {}", self.seconds(), compare::summary(&canary, &others))
    }

    /// Takes a look into account. Returns how watching ends, if it does.
    pub(super) fn look(&mut self, look: Look, now: Instant) -> Option<Ended> {
        self.now = now;
        if look.name.is_some() {
            self.name.clone_from(&look.name);
        }
        let why = |what: String| match &look.last_error {
            Some(error) => format!("{what}: {error}"),
            None => what,
        };
        let unhealthy = |why| Some(Ended::Worse(Worse { reason: PutBack::Unhealthy, why }));
        match look.state {
            Some(InstanceState::Healthy) => {
                self.joined.get_or_insert(now);
                self.served = now;
            }
            Some(InstanceState::Ejected) => {
                return unhealthy(why("the gateway ejected it".to_owned()));
            }
            None => {
                let why =
                    "it is no longer in the pool: somebody removed it, or the gateway restarted";
                let (reason, why) = (PutBack::Interrupted, why.to_owned());
                return Some(Ended::Worse(Worse { reason, why }));
            }
            Some(state) => {
                let within = if self.joined.is_some() { BACK_WITHIN } else { JOINS_WITHIN };
                if now.saturating_duration_since(self.served) >= within {
                    let seconds = within.as_secs();
                    return unhealthy(why(format!(
                        "it did not serve for {seconds} s: it is {state}"
                    )));
                }
            }
        }
        let joined = self.joined?;
        let name = self.name.clone()?;
        self.tracker.look(&name, look.readings);
        let watched = now.saturating_duration_since(joined);
        if !self.is_warm && watched >= self.rule.warm_up {
            self.is_warm = true;
            self.tracker.forget_times();
        }
        let (mut canary, mut others) = self.tracker.totals(&name);
        if !self.is_warm {
            canary = canary.without_times();
            others.iter_mut().for_each(|other| *other = other.without_times());
        }
        if let Some(worse) = compare::worse(&canary, &others, AT_A_LOOK) {
            return Some(Ended::Worse(worse));
        }
        let is_enough = compare::is_enough(&canary, &others, self.rule.requests);
        let is_over = watched >= self.rule.at_least && (is_enough || watched >= self.rule.at_most);
        is_over.then(|| match compare::at_the_end(&canary, &others, self.rule.requests) {
            Ok(()) => Ended::AsGood,
            Err(worse) => Ended::Worse(worse),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::canary::counts::Times;

    const RULE: Rule = Rule {
        at_least: Duration::from_secs(60),
        at_most: Duration::from_secs(120),
        warm_up: Duration::from_secs(30),
        requests: 100,
    };

    /// A look at a pool of the canary `c` and one other, which had as many requests.
    fn look(state: Option<InstanceState>, requests: u64, slow: u64) -> Look {
        let reading = |slow: u64| {
            let quick = Counts { times: Times::at(0.001, requests - slow), ..Counts::default() };
            let slow = Counts { requests, times: Times::at(2.0, slow), ..Counts::default() };
            Reading { counts: quick.plus(&slow), serves: true }
        };
        let readings = [("c", slow), ("p", 0)].map(|(name, slow)| (name.to_owned(), reading(slow)));
        Look {
            name: state.map(|_| "c".to_owned()),
            state,
            last_error: Some("the last fault".to_owned()),
            readings: readings.into(),
        }
    }

    /// Looks once a second; each second brings ten requests to each, of which the canary is slow
    /// with as many as `slow` says. Returns the second of the end.
    fn run(
        slow: impl Fn(u64) -> u64,
        state: impl Fn(u64) -> Option<InstanceState>,
    ) -> (u64, Ended) {
        let begin = Instant::now();
        let mut watch = Watch::new(RULE, begin);
        let mut total = 0;
        let ended = (1..).find_map(|second| {
            total += slow(second);
            let now = begin + Duration::from_secs(second);
            Some(second).zip(watch.look(look(state(second), 10 * second, total), now))
        });
        ended.expect("it ends")
    }

    const HEALTHY: Option<InstanceState> = Some(InstanceState::Healthy);

    fn reason(ended: Ended) -> (PutBack, String) {
        match ended {
            Ended::Worse(Worse { reason, why }) => (reason, why),
            Ended::AsGood => panic!("it is not as good"),
        }
    }

    #[test]
    fn a_cold_cache_is_forgiven_and_slowness_is_not() {
        assert_eq!(
            run(|second| if second < 25 { 10 } else { 0 }, |_| HEALTHY),
            (61, Ended::AsGood)
        );
        let (second, ended) = run(|_| 10, |_| HEALTHY);
        assert_eq!(reason(ended).0, PutBack::Latency);
        assert!((32..45).contains(&second), "{second}");
    }

    #[test]
    fn one_that_does_not_join_or_does_not_come_back_is_put_back() {
        let (second, ended) = run(|_| 0, |_| Some(InstanceState::Pending));
        assert_eq!((second, reason(ended).0), (60, PutBack::Unhealthy));
        let after = |from, state| move |second| if second < from { HEALTHY } else { state };
        let (second, ended) = run(|_| 0, after(10, Some(InstanceState::Unhealthy)));
        let (reason_given, why) = reason(ended);
        assert_eq!((second, reason_given), (24, PutBack::Unhealthy));
        assert_eq!(why, "it did not serve for 15 s: it is unhealthy: the last fault");
        let (second, ended) = run(|_| 0, after(10, Some(InstanceState::Ejected)));
        assert_eq!((second, reason(ended).0), (10, PutBack::Unhealthy), "at once");
    }

    #[test]
    fn one_that_somebody_removed_is_not_added_again() {
        let (second, ended) = run(|_| 0, |second| if second < 20 { HEALTHY } else { None });
        assert_eq!((second, reason(ended).0), (20, PutBack::Interrupted));
    }

    #[test]
    fn it_waits_for_requests_and_not_forever() {
        let begin = Instant::now();
        let mut watch = Watch::new(RULE, begin);
        let ended = (1..).find_map(|second| {
            let now = begin + Duration::from_secs(second);
            Some(second).zip(watch.look(look(HEALTHY, second / 2, 0), now))
        });
        let (second, ended) = ended.expect("it ends");
        assert_eq!((second, reason(ended).0), (121, PutBack::Undecided));
    }
}
