//! Whether an instance is draining or stopping, and the decision behind it.

use std::ops::Add;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_contracts::control::DrainInstance;
use proto_contracts::health::DrainDecision;

/// Minimum length of a drain, and how long streams last beyond it. By then a gateway that checks
/// every 5 s has noticed the drain and sends no more requests.
const PROPAGATION: Duration = Duration::from_secs(6);

/// A point in time by both clocks: countdowns use the monotonic one, other processes compare wall
/// time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    at: Instant,
    unix_ms: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: Instant::now(),
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        let unix_ms =
            self.unix_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { at: self.at + time, unix_ms }
    }
}

/// The drain state of an instance, and the time of the operator's last decision on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    phase: Phase,
    decided_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Serving,
    /// By an operator's decision; its keys move away at `until`.
    Draining {
        begun: Instant,
        until: Moment,
    },
    /// In the pre-stop delay after SIGTERM: it serves on until gateways have noticed.
    Leaving,
    Stopping,
}

impl Drain {
    /// Begins a drain, or changes the deadline of one in progress if `deadline` is given. A
    /// finished drain stays finished. Returns false, without effect, when the instance is stopping
    /// or a later decision is known.
    pub(super) fn begin(
        &mut self,
        now: Moment,
        deadline: Option<Duration>,
        decided_ms: Option<u64>,
    ) -> bool {
        if self.is_stopping() || !self.decide(now, decided_ms) {
            return false;
        }
        self.phase = match (self.phase, deadline) {
            (Phase::Draining { begun, until }, Some(deadline)) if until.at > now.at => {
                Phase::Draining { begun, until: now + deadline }
            }
            (unchanged @ Phase::Draining { .. }, _) => unchanged,
            (_, deadline) => {
                let deadline =
                    deadline.unwrap_or(Duration::from_secs(DrainInstance::DEFAULT_DEADLINE_S));
                Phase::Draining { begun: now.at, until: now + deadline }
            }
        };
        true
    }

    /// Ends a drain. Returns false, without effect, when the instance is stopping or a later
    /// decision is known.
    pub(super) fn end(&mut self, now: Moment, decided_ms: Option<u64>) -> bool {
        if self.is_stopping() || !self.decide(now, decided_ms) {
            return false;
        }
        self.phase = Phase::Serving;
        true
    }

    /// Begins the pre-stop delay.
    pub(super) fn begin_pre_stop(&mut self) {
        self.phase = Phase::Leaving;
    }

    pub(super) fn stop(&mut self) {
        self.phase = Phase::Stopping;
    }

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Stopping)
    }

    /// Accepts a decision unless it is older than the present one. Gateways of older versions send
    /// no time.
    fn decide(&mut self, now: Moment, decided_ms: Option<u64>) -> bool {
        let decided_ms = decided_ms.unwrap_or(now.unix_ms.max(self.decided_ms + 1));
        let holds = decided_ms >= self.decided_ms;
        if holds {
            self.decided_ms = decided_ms;
        }
        holds
    }

    /// Ends the drain of an instance without work early, once gateways have had time to notice it.
    pub(super) fn finish_empty(&mut self, now: Moment) -> bool {
        match &mut self.phase {
            Phase::Draining { begun, until }
                if until.at > now.at && *begun + PROPAGATION <= now.at =>
            {
                *until = now;
                true
            }
            _ => false,
        }
    }

    /// Seconds until the keys move away, rounded up: 0 only when they do.
    pub(super) fn seconds_left(&self, now: Instant) -> Option<u64> {
        match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } => {
                let left = until.at.saturating_duration_since(now);
                Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
            }
            Phase::Leaving | Phase::Stopping => Some(0),
        }
    }

    /// The decision for `/health` responses. A stopping instance announces none: the gateways keep
    /// the operator's decision for when it is back.
    pub(super) fn decision(&self) -> Option<DrainDecision> {
        let until_ms = match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } => Some(until.unix_ms),
            Phase::Leaving | Phase::Stopping => return None,
        };
        Some(DrainDecision { decided_ms: self.decided_ms, until_ms })
    }

    /// Whether the instance should get no more requests.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.seconds_left(now) == Some(0)
    }

    /// When streams end, so that clients resume them elsewhere. Later than the keys move: earlier,
    /// clients would come back here.
    pub(super) fn streams_end(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving | Phase::Leaving => None,
            Phase::Draining { until, .. } => Some(until.at + PROPAGATION),
            Phase::Stopping => Some(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn begun(now: Moment) -> Drain {
        let mut drain = Drain::default();
        assert!(drain.begin(now, Some(DEADLINE), Some(1)));
        drain
    }

    #[test]
    fn a_drain_counts_down_to_its_deadline_and_streams_last_a_little_longer() {
        let now = Moment::now();
        assert_eq!(
            (Drain::default().seconds_left(now.at), Drain::default().streams_end()),
            (None, None)
        );
        let mut drain = begun(now);
        assert_eq!(drain.seconds_left(now.at), Some(30));
        assert_eq!(
            drain.seconds_left(now.at + Duration::from_millis(29_001)),
            Some(1),
            "rounded up"
        );
        assert!(drain.is_over(now.at + DEADLINE));
        assert_eq!(drain.streams_end(), Some(now.at + DEADLINE + PROPAGATION));
        let until_ms = Some(now.unix_ms + 30_000);
        assert_eq!(drain.decision(), Some(DrainDecision { decided_ms: 1, until_ms }));
        assert!(drain.end(now, Some(2)));
        assert_eq!(drain.seconds_left(now.at), None);
        assert_eq!(drain.decision(), Some(DrainDecision { decided_ms: 2, until_ms: None }));
    }

    #[test]
    fn a_finished_drain_is_not_revived() {
        let now = Moment::now();
        let mut drain = begun(now);
        assert!(drain.begin(now, None, Some(2)));
        assert_eq!(drain.seconds_left(now.at), Some(30), "without a deadline it keeps its own");
        assert!(drain.begin(now, Some(DEADLINE * 2), Some(3)));
        assert_eq!(drain.seconds_left(now.at), Some(60));
        let over = now + DEADLINE * 2;
        assert!(drain.begin(over, Some(DEADLINE), Some(4)));
        assert_eq!(drain.seconds_left(over.at), Some(0), "it is drained");
        assert!(drain.begin(over, Some(DEADLINE), None));
        assert!(drain.is_over(over.at), "a gateway of an older version does not revive it");
    }

    #[test]
    fn an_older_decision_changes_nothing() {
        let now = Moment::now();
        let mut drain = Drain::default();
        assert!(drain.end(now, Some(7)));
        assert!(!drain.begin(now, Some(DEADLINE), Some(6)));
        assert_eq!(drain.seconds_left(now.at), None);
        assert!(drain.begin(now, Some(DEADLINE), Some(8)) && !drain.end(now, Some(7)));
        assert_eq!(drain.seconds_left(now.at), Some(30));
    }

    #[test]
    fn an_empty_instance_is_drained_once_all_gateways_have_noticed() {
        let now = Moment::now();
        assert!(!Drain::default().finish_empty(now), "no drain is in progress");
        let mut drain = begun(now);
        assert!(!drain.finish_empty(now), "requests may still arrive");
        assert!(drain.finish_empty(now + PROPAGATION));
        assert!(drain.is_over(now.at + PROPAGATION));
    }

    #[test]
    fn a_stopping_instance_takes_and_announces_no_decision() {
        let now = Moment::now();
        for stop in [Drain::begin_pre_stop, Drain::stop] {
            let mut drain = begun(now);
            stop(&mut drain);
            assert!(!drain.begin(now, Some(DEADLINE), None) && !drain.end(now, None));
            assert_eq!((drain.seconds_left(now.at), drain.decision()), (Some(0), None));
        }
    }
}
