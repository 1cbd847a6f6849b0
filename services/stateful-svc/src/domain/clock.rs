//! The clocks of the memory store and of an instance's lease. (Sessions in Redis expire by Redis's
//! clock.)

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// A wall clock with a resolution of one millisecond.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Whole milliseconds, like Redis's expiry, so that both stores return equal times.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// A monotonic clock: only differences between its readings have a meaning.
pub trait SteadyClock: Send + Sync + 'static {
    /// The time since a fixed but arbitrary moment.
    fn now(&self) -> Duration;
}

/// The time since the machine's boot. Unlike [`std::time::Instant`] it includes the time of a
/// suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl SteadyClock for BootClock {
    fn now(&self) -> Duration {
        // Without a clock no lease may be trusted: at the maximum all have expired.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }
}
