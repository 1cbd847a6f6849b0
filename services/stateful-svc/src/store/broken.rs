//! Guarantees that tests take out, to see whether their loss is noticed.
//!
//! A program built with the feature `broken` reads `TANDEM_TEST_BREAK`. Without the feature nothing of this is compiled in.

use std::time::Duration;

/// How late an instance hears what others ask of it, where that is to show.
pub(super) const LATE: Duration = Duration::from_millis(400);

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarantee {
    /// Who writes waits until no older copy is left: `no-handover`.
    Handover,
    /// A copy is served only while the lease is trusted, and given up with it, or when nothing is heard: `no-lease-check`.
    /// What others ask is heard a little late then, as it may be on any network: else a process that was stopped drops what
    /// it holds so soon after it wakes up that the lease is hardly ever missed.
    LeaseCheck,
    /// Who is asked to drop a copy does so: `no-drop`.
    Drop,
}

/// Whether a test has taken it out.
#[cfg(feature = "broken")]
pub(super) fn is_broken(guarantee: Guarantee) -> bool {
    static BROKEN: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| {
        let named = std::env::var("TANDEM_TEST_BREAK").ok();
        if let Some(named) = &named {
            tracing::error!(named, "this program was built to break a guarantee, and does");
        }
        named
    });
    let name = match guarantee {
        Guarantee::Handover => "no-handover",
        Guarantee::LeaseCheck => "no-lease-check",
        Guarantee::Drop => "no-drop",
    };
    BROKEN.as_deref() == Some(name)
}

/// Never.
#[cfg(not(feature = "broken"))]
pub(super) const fn is_broken(guarantee: Guarantee) -> bool {
    let _ = guarantee;
    false
}
