//! The keys that verify users' tokens.

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use prometheus::Registry;
use service_kit::tokens::{KeySet, TokenSettings, TokenVerifier};

use crate::resilience::rate_limit::User;

/// Verifies users' tokens, and registers the metrics of its keys.
pub(super) fn verifier(
    settings: TokenSettings,
    registry: &Registry,
) -> prometheus::Result<TokenVerifier<User>> {
    let tokens = TokenVerifier::new(settings, |claims| User::named(&claims.iss, &claims.sub));
    tokens.keys().register(registry)?;
    Ok(tokens)
}

/// Fetches the keys, if their issuer publishes them.
pub(super) struct KeysWatch(pub(super) KeySet);

#[async_trait]
impl BackgroundService for KeysWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.0.clone().follow() => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
        }
    }
}
