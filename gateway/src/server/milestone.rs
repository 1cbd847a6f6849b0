//! What the main thread waits for.

use crate::health_check::checks::Checked;
use crate::server::upgrade::HandOver;

/// What the main thread is told.
pub(super) enum Milestone {
    /// Every instance was asked once; the data plane begins with `go`.
    Checked(Checked),
    /// A successor is ready.
    HandOver(HandOver),
    /// It was told to stop, and serves on for a while.
    Leaving,
    /// The listeners close.
    StopBegun,
    /// Pingora has ended.
    Stopped,
}

impl From<HandOver> for Milestone {
    fn from(hand_over: HandOver) -> Self {
        Self::HandOver(hand_over)
    }
}

impl From<Checked> for Milestone {
    fn from(checked: Checked) -> Self {
        Self::Checked(checked)
    }
}
