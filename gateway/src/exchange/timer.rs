//! One timer for all waits of a connection.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is cheap to move and to check: the runtime's timer is reset only when it fires
/// early, or when the deadline moves closer, and polled only after that.
///
/// All polls must come from one task, whose waker the runtime's timer keeps.
#[derive(Debug)]
pub struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
    /// Whether the runtime's timer wakes the task.
    armed: bool,
}

impl Timer {
    /// A timer whose deadline is now.
    pub fn new() -> Self {
        let deadline = Instant::now();
        Self { sleep: Box::pin(sleep_until(deadline)), deadline, armed: false }
    }

    /// Sets the deadline to `now + within`.
    pub fn set(&mut self, now: Instant, within: Duration) {
        self.deadline = now + within;
        if self.deadline < self.sleep.deadline() {
            self.reset();
        }
    }

    /// Whether the deadline has passed; wakes the task when it has.
    pub fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let elapsed = if self.armed {
                self.sleep.is_elapsed()
            } else {
                self.armed = true;
                // A task without budget is not registered with the runtime's timer, and this is its
                // only poll.
                pin!(unconstrained(self.sleep.as_mut())).poll(context).is_ready()
            };
            if !elapsed {
                return Poll::Pending;
            }
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.reset();
        }
    }

    /// Waits for the deadline.
    pub async fn passed(&mut self) {
        poll_fn(|context| self.poll_passed(context)).await;
    }

    fn reset(&mut self) {
        self.sleep.as_mut().reset(self.deadline);
        self.armed = false;
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
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
        timer.passed().await;
        assert_eq!(start.elapsed().as_secs(), 75, "a deadline that has passed stays so");
    }

    /// As many requests in one segment use a task's budget up.
    #[tokio::test(start_paused = true)]
    async fn it_fires_in_a_task_that_had_no_budget_left() {
        let mut timer = Timer::new();
        timer.set(Instant::now(), Duration::from_secs(1));
        poll_fn(|context| {
            while tokio::task::coop::has_budget_remaining() {
                let _used = pin!(tokio::task::coop::consume_budget()).poll(context);
            }
            assert!(timer.poll_passed(context).is_pending());
            Poll::Ready(())
        })
        .await;
        tokio::time::timeout(Duration::from_secs(60), timer.passed()).await.expect("it fires");
    }
}
