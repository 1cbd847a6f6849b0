//! An instance's ejections: duration and history.

use std::time::{Duration, Instant};

/// The current ejection, and how often the instance was ejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ejections {
    times: u32,
    current: Option<Current>,
    returned: Option<Instant>,
}

/// The ejection that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Current {
    until: Instant,
    why: String,
}

impl Ejections {
    /// Ejects the instance for n × base. As in Envoy, n grows with each ejection and falls by one
    /// per base time without one.
    pub(super) fn begin(&mut self, now: Instant, base: Duration, max: Duration, why: String) {
        let good_standing = self
            .returned
            .map_or(Duration::ZERO, |returned| now.saturating_duration_since(returned));
        let forgiven = good_standing.as_millis() / base.as_millis().max(1);
        self.times = self
            .times
            .saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
            .saturating_add(1);
        self.current = Some(Current { until: now + base.saturating_mul(self.times).min(max), why });
    }

    /// Ends the ejection when its time is over. Returns whether it ended.
    pub(super) fn end_if_over(&mut self, now: Instant) -> bool {
        let over = self.current.as_ref().is_some_and(|current| current.until <= now);
        if over {
            self.current = None;
            self.returned = Some(now);
        }
        over
    }

    /// Why it is ejected.
    pub(super) fn why(&self) -> Option<&str> {
        self.current.as_ref().map(|current| current.why.as_str())
    }

    /// Remaining time of the ejection.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.current.as_ref().map(|current| current.until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);
    const MAX: Duration = Duration::from_secs(300);

    fn eject(ejections: &mut Ejections, now: Instant) -> Duration {
        ejections.begin(now, BASE, MAX, "it failed".to_owned());
        ejections.left(now).expect("it is ejected")
    }

    #[test]
    fn ejections_grow_up_to_a_limit_and_shrink_after_a_time_without_one() {
        let mut ejections = Ejections::default();
        let mut now = Instant::now();
        for n in 1..=12 {
            let length = eject(&mut ejections, now);
            assert_eq!(length, (BASE * n).min(MAX));
            assert!(!ejections.end_if_over(now + length - Duration::from_millis(1)), "not yet");
            now += length;
            assert!(ejections.end_if_over(now));
        }
        assert_eq!(eject(&mut ejections, now + 9 * BASE), 4 * BASE, "nine of twelve are forgiven");
        assert_eq!(ejections.why(), Some("it failed"));
    }

    #[test]
    fn the_multiplier_returns_to_one_in_time() {
        let mut ejections = Ejections::default();
        let now = Instant::now();
        let length = eject(&mut ejections, now);
        assert!(ejections.end_if_over(now + length));
        assert_eq!((ejections.why(), ejections.left(now)), (None, None));
        assert_eq!(eject(&mut ejections, now + 100 * BASE), BASE);
    }
}
