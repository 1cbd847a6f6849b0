//! Closed loop: each worker sends its next request after the response to the last.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::outcome::ErrorKind;
use crate::perform::{lock, perform};
use crate::recorder::Recorder;
use crate::scenario::Scenario;

/// Pause after a failed connect, so that a dead target is not flooded.
const CONNECT_BACKOFF: Duration = Duration::from_millis(100);

/// Runs one worker until that time, and waits for its last request.
pub(crate) async fn work<S: Scenario>(
    mut client: Client,
    mut scenario: S,
    until: Instant,
    timeout: Duration,
    recorder: &Mutex<Recorder>,
) {
    loop {
        let start = Instant::now();
        if start >= until {
            return;
        }
        let performed =
            perform(&mut client, &mut scenario, start + timeout, ErrorKind::Timeout).await;
        lock(recorder).record(start, &performed);
        if performed.outcome == Err(ErrorKind::Connect) {
            tokio::time::sleep(CONNECT_BACKOFF).await;
        }
    }
}
