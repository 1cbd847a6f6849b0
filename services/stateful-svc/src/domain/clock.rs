//! Where the time comes from: for the memory store, and for an instance that measures its own lease. (When a session in
//! Redis ends, Redis decides.)

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// A clock with a resolution of one millisecond.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Whole milliseconds, as Redis expires keys by them: both stores then tell times alike.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// A clock that is never set and never stands still: what it tells means nothing, what passes on it is time that passed.
pub trait SteadyClock: Send + Sync + 'static {
    /// The time since some moment that stays the same for as long as the process lives.
    fn now(&self) -> Duration;
}

/// The machine's time since it was started. Unlike [`std::time::Instant`] it also counts what the machine slept.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl SteadyClock for BootClock {
    fn now(&self) -> Duration {
        // Without a clock no lease may be trusted, and at the end of time all have run out.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }
}
