//! The keys that verify users' tokens.

use prometheus::Registry;
use service_kit::tokens::{TokenSettings, TokenVerifier};

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
