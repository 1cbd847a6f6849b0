//! The end of a lesson before its time. A request or change that has begun is completed, so that
//! nothing is left of which the lesson does not know; the next one is refused.

use anyhow::{Result, ensure};
use tokio::sync::watch;

/// Ends a lesson.
pub(crate) struct Stopper(watch::Sender<bool>);

/// Whether the lesson was ended.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stopper {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// What the lesson looks at.
    pub(crate) fn stop_of_lesson(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// One that never comes, for what puts things back.
    pub(crate) fn never() -> Self {
        Stopper::new().stop_of_lesson()
    }

    /// # Errors
    /// When the lesson was ended.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!*self.0.borrow(), "the lesson was interrupted");
        Ok(())
    }

    /// Waits for the end.
    pub(crate) async fn requested(&self) {
        let mut stop = self.0.clone();
        if stop.wait_for(|is_requested| *is_requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
