//! The HTTP client for requests to our own services.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Error};

use crate::tls::{Trust, install_provider};

/// A client whose requests take at most so long. It follows no redirect, and accepts certificates of
/// these authorities.
///
/// # Errors
/// When the platform has no usable TLS.
pub fn client(timeout: Duration, trust: &Trust) -> Result<Client, Error> {
    // The client needs a crypto provider even for plain HTTP.
    install_provider();
    let client = Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy();
    let certificates = trust.of_file().iter().map(|der| Certificate::from_der(der));
    match certificates.collect::<Result<Vec<_>, _>>()? {
        of_file if of_file.is_empty() => client.build(),
        of_file => client.tls_certs_only(of_file).build(),
    }
}
