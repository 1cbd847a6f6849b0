//! A task of the server's that ends with it.

use std::future::Future;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

/// Runs what this function returns until the server stops.
pub(super) struct UntilStopped<F>(pub(super) F);

#[async_trait]
impl<F, T> BackgroundService for UntilStopped<F>
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send,
{
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = (self.0)() => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
        }
    }
}
