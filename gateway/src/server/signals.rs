//! The signals, and what each leads to.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::reload::Reloader;
use crate::server::milestone::Milestone;

/// The signals that it was given, and the end of an upgrade.
pub(super) struct Signals<S> {
    pub(super) given: S,
    /// For how long SIGTERM is announced before it is obeyed; another signal ends that.
    pub(super) announce: Duration,
    pub(super) main: mpsc::Sender<Milestone>,
    pub(super) handed_over: watch::Receiver<bool>,
    /// Set while it is announced.
    pub(super) leaving: Arc<AtomicBool>,
}

#[async_trait]
impl<S: ShutdownSignalWatch + Send + Sync> ShutdownSignalWatch for Signals<S> {
    async fn recv(&self) -> ShutdownSignal {
        let mut handed_over = self.handed_over.clone();
        let mut upgraded = pin!(async {
            if handed_over.wait_for(|handed_over| *handed_over).await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        tokio::select! {
            signal = self.given.recv() => match signal {
                ShutdownSignal::FastShutdown => return self.stop_at_once().await,
                // Pingora's way to give the listeners up, to whoever may be there, is none of ours.
                ShutdownSignal::GracefulUpgrade | ShutdownSignal::GracefulTerminate => {}
            },
            () = &mut upgraded => return ShutdownSignal::GracefulTerminate,
        }
        if !self.announce.is_zero() {
            self.leaving.store(true, Ordering::Relaxed);
            let _main_has_gone = self.main.send(Milestone::Leaving);
            tokio::select! {
                () = tokio::time::sleep(self.announce) => {}
                signal = self.given.recv() => match signal {
                    ShutdownSignal::FastShutdown => return self.stop_at_once().await,
                    signal => return signal,
                },
                () = upgraded => {}
            }
        }
        ShutdownSignal::GracefulTerminate
    }
}

impl<S> Signals<S> {
    /// Ends the process without Pingora's own shutdown, for a person at a terminal who does not want to wait.
    ///
    /// In Pingora's fast shutdown, a listener whose runtime is going away fails to accept in an endless loop, and the
    /// server waits for that loop's thread.
    async fn stop_at_once(&self) -> ShutdownSignal {
        let _main_has_gone = self.main.send(Milestone::Stopped);
        std::future::pending().await
    }
}

/// Tells when Pingora begins to stop.
pub(super) struct StopWatch {
    pub(super) main: mpsc::Sender<Milestone>,
}

#[async_trait]
impl BackgroundService for StopWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // It may have begun before this service did.
        let _closed_means_stopping_too = shutdown.wait_for(|stopping| *stopping).await.is_ok();
        let _main_has_gone = self.main.send(Milestone::StopBegun);
    }
}

/// Reads the configuration again at each SIGHUP.
pub(super) struct ReloadWatch {
    pub(super) reloader: Arc<Reloader>,
}

#[async_trait]
impl BackgroundService for ReloadWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "SIGHUP reloads nothing"),
        };
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    // Logged and counted there.
                    let _outcome = self.reloader.reload();
                }
                _ = shutdown.wait_for(|stopping| *stopping) => return,
            }
        }
    }
}
