//! Failpoints: they switch off one guarantee, so that tests can show that its loss is detected.
//!
//! A build with the feature `broken` reads the failpoint's name from `TANDEM_TEST_BREAK`. Other
//! builds contain no failpoints.

use std::time::Duration;

/// The pause between the read and the store of a fill, with either failpoint.
pub(super) const FILL_PAUSE: Duration = Duration::from_millis(300);

/// What can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failpoint {
    /// `slow-fill`: fills pause, which does no harm.
    SlowFill,
    /// `no-generation-check`: fills pause, and are stored whatever the generation is by then.
    NoGenerationCheck,
    /// `no-replay-check`: the replica is read whatever it has replayed.
    NoReplayCheck,
    /// `no-kept-key`: keys of executed requests are not kept.
    NoKeptKey,
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
        Failpoint::SlowFill => "slow-fill",
        Failpoint::NoGenerationCheck => "no-generation-check",
        Failpoint::NoReplayCheck => "no-replay-check",
        Failpoint::NoKeptKey => "no-kept-key",
    };
    ACTIVE.as_deref() == Some(name)
}

/// Always `false` without the feature.
#[cfg(not(feature = "broken"))]
pub(super) const fn is_active(failpoint: Failpoint) -> bool {
    let _ = failpoint;
    false
}
