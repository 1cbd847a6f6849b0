//! The progress display, on terminals only.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::perform::lock;
use crate::plan::Phase;
use crate::recorder::{Recorder, Series};

/// Refresh interval.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line for each phase, on standard error.
pub(crate) struct Progress(MultiProgress);

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        Self(MultiProgress::new())
    }

    /// Adds the line of one phase.
    pub(crate) fn phase(&self, phase: &Phase, duration: Duration) -> PhaseProgress {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("{prefix:11} {bar:24} {elapsed:>4} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.0.add(ProgressBar::new(millis).with_style(style).with_prefix(phase.name()));
        PhaseProgress(bar)
    }
}

/// The line of one phase, removed on drop.
pub(crate) struct PhaseProgress(ProgressBar);

impl PhaseProgress {
    /// Updates the line until it is cancelled.
    pub(crate) async fn follow(
        &self,
        recorder: &Mutex<Recorder>,
        start: Instant,
        duration: Duration,
    ) -> Infallible {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            let (requests, failed) = {
                let recorder = lock(recorder);
                let series = recorder.series.values();
                (
                    series.clone().map(Series::requests).sum::<u64>(),
                    series.map(Series::failed).sum::<u64>(),
                )
            };
            let elapsed = start.elapsed();
            self.0
                .set_position(u64::try_from(elapsed.min(duration).as_millis()).unwrap_or(u64::MAX));
            let rate = requests as f64 / elapsed.as_secs_f64().max(0.001);
            let (requests, failed) = (HumanCount(requests), HumanCount(failed));
            let waiting = if elapsed > duration { ", waiting for the last responses" } else { "" };
            self.0
                .set_message(format!("{requests} requests, {rate:.0}/s, {failed} errors{waiting}"));
        }
    }
}

impl Drop for PhaseProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
