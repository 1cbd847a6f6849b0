//! Counts events of the last seconds, without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Length of the window in seconds, the current one included.
pub(super) const SECONDS: u32 = 10;
/// More cells than seconds, so that a cell that is being cleared is outside the window.
const PLACES: usize = 16;

/// Events per second.
#[derive(Debug, Default)]
pub(super) struct Window {
    places: [AtomicU64; PLACES],
    /// The latest second with an event.
    latest: AtomicU32,
}

impl Window {
    /// Counts an event in this second since the start.
    pub(super) fn add(&self, second: u32) {
        let place = &self.places[second as usize % PLACES];
        let known = place.load(Ordering::Relaxed);
        if unpack(known).0 == second {
            place.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.latest.fetch_max(second, Ordering::Relaxed);
        let first = pack(second, 1);
        if place.compare_exchange(known, first, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Another thread began this second first.
            place.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events of the last [`SECONDS`], this one included.
    pub(super) fn count(&self, second: u32) -> u64 {
        if second.saturating_sub(self.latest.load(Ordering::Relaxed)) >= SECONDS {
            return 0;
        }
        let counted = self.places.iter().map(|place| unpack(place.load(Ordering::Relaxed)));
        counted
            .filter(|&(of, _)| of <= second && second - of < SECONDS)
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

/// The second in the upper half, its count in the lower.
const fn pack(second: u32, count: u32) -> u64 {
    ((second as u64) << 32) | count as u64
}

const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let window = Window::default();
        for second in 0..40 {
            (0..3).for_each(|_| window.add(second));
        }
        assert_eq!(window.count(39), 30);
        assert_eq!(window.count(44), 15, "five of them have gone");
        assert_eq!(window.count(60), 0);
        window.add(60);
        assert_eq!(window.count(60), 1);
    }

    #[test]
    fn no_event_of_many_threads_is_lost() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|i| window.add(100 + i / 250)));
            }
        });
        assert_eq!(window.count(103), 4_000);
    }
}
