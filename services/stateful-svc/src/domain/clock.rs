//! Where the memory store takes the time from. (The Redis store asks Redis.)

use jiff::Timestamp;

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
