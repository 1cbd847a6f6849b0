//! The client of S3: its timeouts, its retries, and why a bucket cannot be used.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::ClientConfigKey;
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};
use secrecy::ExposeSecret as _;
use service_kit::tls::install_provider;

use crate::blob_target::S3Settings;

/// The longest silence of S3. There is no timeout of a whole request: the client of a download may
/// be slow. With the retries, it is less than the gateway waits for a response, 15 s.
const LONGEST_SILENCE: &str = "5 seconds";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time no retry begins.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RETRIES: usize = 4;

/// The settings are of no bucket that can be used: a restart alone does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misconfigured {
    /// One of a pair is missing.
    #[error("set both FILES_S3_ACCESS_KEY and FILES_S3_SECRET_KEY, or neither")]
    HalfOfAKey,
    /// S3 does not know the key, or its secret is another.
    #[error(
        "S3 rejects the credentials: check FILES_S3_ACCESS_KEY and FILES_S3_SECRET_KEY or the \
         machine's role, and that it may list, read, write and delete in the bucket of FILES_URL"
    )]
    Credentials,
    /// There is no such bucket.
    #[error("the bucket of FILES_URL does not exist: create it, or name another")]
    NoBucket,
}

/// A client of this bucket.
///
/// # Errors
/// When the settings fit no client.
pub(super) fn client(bucket: &str, settings: &S3Settings) -> Result<AmazonS3, Error> {
    // The client needs it even for plain HTTP.
    install_provider();
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
        .with_config(ClientConfigKey::ReadTimeout, LONGEST_SILENCE);
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..Default::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&settings.region)
        // Content is deleted one by one, and not every implementation has the other request.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT })
        .with_client_options(options);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let (Some(key), Some(secret)) = (&settings.access_key, &settings.secret_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret.expose_secret());
    }
    builder.build()
}

/// What is wrong with the settings, if an error says so. S3 that is gone says nothing.
pub(super) fn fault(error: &Error) -> Option<Misconfigured> {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Some(Misconfigured::Credentials)
        }
        // The errors of a list have no kind; the code of S3 is in the body.
        error if error.to_string().contains("<Code>NoSuchBucket<") => Some(Misconfigured::NoBucket),
        error if error.to_string().contains("<Code>AccessDenied<") => {
            Some(Misconfigured::Credentials)
        }
        _ => None,
    }
}
