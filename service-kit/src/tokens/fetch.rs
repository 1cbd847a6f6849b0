//! Fetches the issuer's public keys.

use std::time::Duration;

use reqwest::{Client, Url};

use super::keys::{PublicKey, UnusableKey};
use crate::http_client;
use crate::tls::Trust;

const TIMEOUT: Duration = Duration::from_secs(3);
/// The largest key set, in bytes: some 300 keys.
const MAX_BYTES: usize = 64 * 1024;

/// The HTTP client for keys.
pub(super) struct Fetcher(Client);

/// Why the keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No connection, a timeout, or a status other than 200.
    #[error("the request for the keys failed")]
    Request(#[from] reqwest::Error),
    /// More than [`MAX_BYTES`].
    #[error("the response is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not a set of keys.
    #[error("the response {0}")]
    Unusable(#[from] UnusableKey),
}

impl Fetcher {
    /// Fetches the keys by this client, which is made at the first call.
    pub(super) async fn fetch(
        client: &mut Option<Self>,
        url: &Url,
        trust: &Trust,
    ) -> Result<Vec<PublicKey>, FetchError> {
        let Self(client) = match client {
            Some(client) => client,
            None => client.insert(Self(http_client::client(TIMEOUT, trust)?)),
        };
        let mut response = client.get(url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(PublicKey::from_jwks(&String::from_utf8_lossy(&body))?)
    }
}
