//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Far longer than anything here takes; bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two attempts.
const STEP: Duration = Duration::from_millis(20);

/// Repeats the attempt until it returns a value; `what` names it in the error.
///
/// # Errors
/// An attempt's error, at once, or a timeout.
pub(crate) async fn until<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    attempt: impl FnMut() -> F,
) -> Result<T> {
    until_within(TIMEOUT, what, attempt).await
}

/// The same with another bound.
///
/// # Errors
/// An attempt's error, at once, or a timeout.
pub(crate) async fn until_within<T, F: Future<Output = Result<Option<T>>>>(
    timeout: Duration,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await? {
            return Ok(value);
        }
        if begin.elapsed() > timeout {
            bail!("{what}: not within {} s", timeout.as_secs());
        }
        tokio::time::sleep(STEP).await;
    }
}
