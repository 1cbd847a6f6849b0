//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Far longer than anything here takes; it only bounds how long a fault keeps a test waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// Short beside what is waited for, and long enough to leave the machine to it.
const STEP: Duration = Duration::from_millis(20);

/// Tries until it gives a value. `what` names it should it never come.
///
/// # Errors
/// What a try fails with, at once, or that it never came.
pub(crate) async fn until<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await? {
            return Ok(value);
        }
        if begin.elapsed() > PATIENCE {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(STEP).await;
    }
}
