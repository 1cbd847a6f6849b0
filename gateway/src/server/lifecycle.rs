//! Events for the main thread.

use crate::health_check::checks::Checked;
use crate::server::upgrade::HandOver;

/// An event for the main thread.
pub(super) enum LifecycleEvent {
    /// The first checks are done; the data plane starts with `go`.
    Checked(Checked),
    /// The new process is ready to take over.
    HandOver(HandOver),
    /// The pre-stop delay began.
    PreStop,
    /// The listeners are closing.
    StopBegun,
    /// Pingora has ended.
    Stopped,
}

impl From<HandOver> for LifecycleEvent {
    fn from(hand_over: HandOver) -> Self {
        Self::HandOver(hand_over)
    }
}

impl From<Checked> for LifecycleEvent {
    fn from(checked: Checked) -> Self {
        Self::Checked(checked)
    }
}
