//! Failpoints: they switch off one guarantee, so that tests can show that its loss is detected.
//!
//! A build with the feature `broken` reads the failpoint's name from `TANDEM_TEST_BREAK`. Other
//! builds contain no failpoints.

use std::time::Duration;

/// The delay of lease messages with [`Failpoint::NoLeaseCheck`].
pub(super) const MESSAGE_DELAY: Duration = Duration::from_millis(400);

/// A guarantee that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failpoint {
    /// `no-handover`: a write does not wait until older copies are dropped.
    SkipHandover,
    /// `no-lease-check`: copies are served without a trusted lease, and kept when the lease ends or
    /// its channel is silent. Lease messages are delayed, too, as on a slow network. Otherwise a
    /// resumed process would drop its copies too soon for the missing check to show.
    NoLeaseCheck,
    /// `no-drop`: drop requests are confirmed but ignored.
    IgnoreDrops,
    /// `no-rename`: a claim leaves the session under its old id, too.
    KeepClaimedId,
}

/// Whether `TANDEM_TEST_BREAK` names this failpoint.
#[cfg(feature = "broken")]
pub(super) fn is_active(failpoint: Failpoint) -> bool {
    static ACTIVE: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("TANDEM_TEST_BREAK").ok();
        if let Some(name) = &name {
            tracing::error!(name, "failpoint active: this test build breaks a guarantee");
        }
        name
    });
    let name = match failpoint {
        Failpoint::SkipHandover => "no-handover",
        Failpoint::NoLeaseCheck => "no-lease-check",
        Failpoint::IgnoreDrops => "no-drop",
        Failpoint::KeepClaimedId => "no-rename",
    };
    ACTIVE.as_deref() == Some(name)
}

/// Always `false` without the feature.
#[cfg(not(feature = "broken"))]
pub(super) const fn is_active(failpoint: Failpoint) -> bool {
    let _ = failpoint;
    false
}
