//! Signal handling.

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
use crate::server::lifecycle::LifecycleEvent;

/// Shutdown signals, and the end of a hot restart.
pub(super) struct Signals<S> {
    pub(super) inner: S,
    /// The pre-stop delay after SIGTERM; another signal ends it.
    pub(super) pre_stop_delay: Duration,
    pub(super) main: mpsc::Sender<LifecycleEvent>,
    pub(super) handed_over: watch::Receiver<bool>,
    /// Set during the pre-stop delay.
    pub(super) draining: Arc<AtomicBool>,
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
            () = self.graceful() => {}
            () = &mut upgraded => return ShutdownSignal::GracefulTerminate,
        }
        if !self.pre_stop_delay.is_zero() {
            self.draining.store(true, Ordering::Relaxed);
            let _main_ended = self.main.send(LifecycleEvent::PreStop);
            tokio::select! {
                () = tokio::time::sleep(self.pre_stop_delay) => {}
                () = self.graceful() => {}
                () = upgraded => {}
            }
        }
        ShutdownSignal::GracefulTerminate
    }
}

impl<S: ShutdownSignalWatch> Signals<S> {
    /// Returns at a signal for a graceful shutdown. At SIGINT it ends the process instead, and
    /// never returns.
    ///
    /// Pingora's own upgrade (SIGQUIT) is not used, and neither is its fast shutdown: a listener
    /// whose runtime is going away fails to accept in an endless loop, and the server waits for
    /// that loop's thread.
    async fn graceful(&self) {
        match self.inner.recv().await {
            ShutdownSignal::GracefulUpgrade | ShutdownSignal::GracefulTerminate => {}
            ShutdownSignal::FastShutdown => {
                let _main_ended = self.main.send(LifecycleEvent::Stopped);
                std::future::pending().await
            }
        }
    }
}

/// Reports when Pingora begins to stop.
pub(super) struct StopWatch {
    pub(super) main: mpsc::Sender<LifecycleEvent>,
}

#[async_trait]
impl BackgroundService for StopWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // The shutdown may have begun before this service started.
        let _closed_means_stopping_too = shutdown.wait_for(|stopping| *stopping).await.is_ok();
        let _main_ended = self.main.send(LifecycleEvent::StopBegun);
    }
}

/// Reloads the configuration at each SIGHUP.
pub(super) struct ReloadWatch {
    pub(super) reloader: Arc<Reloader>,
}

#[async_trait]
impl BackgroundService for ReloadWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                return tracing::error!(
                    %error,
                    "cannot listen for SIGHUP; reload is only available through the control API"
                );
            }
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
