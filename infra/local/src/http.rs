//! HTTP clients for what the stack runs.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};

use crate::error::{Attempt, StackError};

/// Timeout of a request between the stack's own components on loopback.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a client trusts over TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// Nothing: plain HTTP only.
    Nothing,
    /// The CA certificate in this file.
    Authority(&'a Path),
}

/// A client that uses no proxy and follows no redirect.
pub(crate) fn client(trust: Trust<'_>) -> Result<ClientBuilder, StackError> {
    // reqwest requires a process-wide crypto provider even for plain HTTP. An installed one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = match trust {
        Trust::Nothing => Vec::new(),
        Trust::Authority(file) => {
            let cert = fs::read(file)
                .and_then(|pem| Certificate::from_pem(&pem).map_err(io::Error::other));
            vec![cert.attempt(|| format!("use the certificate in {}", file.display()))?]
        }
    };
    Ok(Client::builder().tls_certs_only(roots).no_proxy().redirect(Policy::none()))
}

/// A client for the stack's own listeners.
pub(crate) fn internal(trust: Trust<'_>) -> Result<Client, StackError> {
    let client = client(trust)?.timeout(TIMEOUT).build();
    client.map_err(io::Error::other).attempt(|| "make an HTTP client".to_owned())
}
