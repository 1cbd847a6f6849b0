//! The HTTP client for requests to our own services.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Error};

/// A client whose requests take at most so long. It follows no redirect.
///
/// # Errors
/// When the platform has no usable TLS.
pub fn client(timeout: Duration) -> Result<Client, Error> {
    // The client needs a crypto provider even for plain HTTP. One that is installed is kept.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().build()
}
