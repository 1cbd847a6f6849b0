//! Slow start: a new instance's share of new load grows over time.
//!
//! It affects round robin and minted keys only. Homes depend on weights and never on time: sessions
//! would move with each step, and gateways would disagree.

use std::time::{Duration, Instant};

use proto_contracts::AffinityKey;

/// Initial share in per cent, Envoy's default.
const FIRST_PERCENT: u64 = 10;

/// A member's share of new load, in per cent of its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart(u8);

impl SlowStart {
    /// The full share.
    pub const OVER: Self = Self(100);

    /// The share `after` the start, growing linearly over `window`.
    pub fn after(time: Duration, window: Duration) -> Self {
        if time >= window {
            return Self::OVER;
        }
        // Below the window, so the quotient is below 1.
        let grown = (100 - FIRST_PERCENT) as f64 * time.as_secs_f64() / window.as_secs_f64();
        Self((FIRST_PERCENT as f64 + grown) as u8)
    }

    /// In per cent, 10 to 100.
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// Whether the instance accepts this minted key.
    pub fn accepts(self, key: AffinityKey) -> bool {
        // The product's high bits are uniform and independent of the home.
        self == Self::OVER || (key.bits().wrapping_mul(0x85eb_ca6b) >> 16) % 100 < u32::from(self.0)
    }
}

/// Whether an address serves, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Serving {
    /// `None` until the first checks; instances that serve then need no slow start.
    serves: Option<bool>,
    since: Option<Instant>,
}

impl Serving {
    /// A new address, which has not served yet.
    pub(super) const NEWCOMER: Self = Self { serves: Some(false), since: None };

    /// Records whether it serves now.
    pub(super) fn update(&mut self, serves: bool, now: Instant) {
        match (self.serves, serves) {
            (Some(false), true) => self.since = Some(now),
            (_, false) => self.since = None,
            (_, true) => {}
        }
        self.serves = Some(serves);
    }

    pub(super) fn slow_start(&self, window: Duration, now: Instant) -> SlowStart {
        let after = |since| SlowStart::after(now.saturating_duration_since(since), window);
        self.since.map_or(SlowStart::OVER, after)
    }

    /// Whether its share changed since the last call.
    pub(super) fn grows(&mut self, window: Duration, now: Instant) -> bool {
        let grows = self.since.is_some();
        if grows && self.slow_start(window, now) == SlowStart::OVER {
            self.since = None;
        }
        grows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn the_share_grows_evenly_from_a_tenth() {
        let percent = |seconds| SlowStart::after(Duration::from_secs(seconds), WINDOW).percent();
        assert_eq!([0, 20, 40, 59, 60, 600].map(percent), [10, 40, 70, 98, 100, 100]);
        assert_eq!(
            SlowStart::after(Duration::ZERO, Duration::ZERO),
            SlowStart::OVER,
            "off by default"
        );
        for percent in [10_u8, 55] {
            let taken = (0..100_000)
                .filter(|&i| SlowStart(percent).accepts(AffinityKey::from_bits(i * 7_919)))
                .count();
            assert!(
                taken.abs_diff(usize::from(percent) * 1_000) < 1_000,
                "{percent} %: {taken} of 100000"
            );
        }
    }

    #[test]
    fn new_and_recovered_instances_start_slowly_and_initial_ones_do_not() {
        let now = Instant::now();
        let mut of_the_start = Serving::default();
        of_the_start.update(true, now);
        assert_eq!(of_the_start.slow_start(WINDOW, now), SlowStart::OVER);
        of_the_start.update(false, now);
        of_the_start.update(true, now);
        assert_eq!(of_the_start.slow_start(WINDOW, now).percent(), 10, "it was down");
        let mut newcomer = Serving::NEWCOMER;
        newcomer.update(true, now);
        newcomer.update(true, now + WINDOW / 2);
        assert_eq!(newcomer.slow_start(WINDOW, now + WINDOW / 2).percent(), 55);
        assert!(newcomer.grows(WINDOW, now + WINDOW) && !newcomer.grows(WINDOW, now + WINDOW));
    }
}
