//! One timer for all waits of a connection.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is cheap to move: the runtime's timer is reset only when it fires early, or when
/// the deadline moves closer.
#[derive(Debug)]
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Timer {
    /// A timer whose deadline is now.
    pub(super) fn new() -> Self {
        let deadline = Instant::now();
        Self { sleep: Box::pin(sleep_until(deadline)), deadline }
    }

    /// Sets the deadline to `now + within`.
    pub(super) fn set(&mut self, now: Instant, within: Duration) {
        self.deadline = now + within;
        if self.deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.deadline);
        }
    }

    /// Waits for the deadline.
    pub(super) async fn passed(&mut self) {
        loop {
            self.sleep.as_mut().await;
            if Instant::now() >= self.deadline {
                return;
            }
            self.sleep.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_last_deadline() {
        let mut timer = Timer::new();
        let start = Instant::now();
        timer.set(Instant::now(), Duration::from_secs(1));
        timer.set(Instant::now(), Duration::from_secs(60));
        timer.passed().await;
        assert_eq!(start.elapsed().as_secs(), 60, "a later one puts it off");
        timer.set(Instant::now(), Duration::from_secs(60));
        let early = tokio::time::timeout(Duration::from_secs(5), timer.passed()).await;
        assert!(early.is_err());
        timer.set(Instant::now(), Duration::from_secs(10));
        timer.passed().await;
        assert_eq!(start.elapsed().as_secs(), 75, "an earlier one brings it forward");
    }
}
