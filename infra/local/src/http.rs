//! HTTP clients for what the stack runs.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};

use crate::error::{Attempt, StackError};

/// How long a call between the stack's own parts may take: it crosses loopback alone.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whom a client trusts when it speaks TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// Nobody: it speaks plain HTTP.
    Nobody,
    /// The authority in this file.
    Authority(&'a Path),
}

/// A client that uses no proxy and follows no redirect.
pub(crate) fn client(trust: Trust<'_>) -> Result<ClientBuilder, StackError> {
    // The client asks for the process's provider of cryptography, even to speak plain HTTP. A program that has chosen
    // one keeps it: then this changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = match trust {
        Trust::Nobody => Vec::new(),
        Trust::Authority(file) => {
            let cert = fs::read(file).and_then(|pem| Certificate::from_pem(&pem).map_err(io::Error::other));
            vec![cert.attempt(|| format!("use the certificate in {}", file.display()))?]
        }
    };
    Ok(Client::builder().tls_certs_only(roots).no_proxy().redirect(Policy::none()))
}

/// A client for the stack's own plain listeners.
pub(crate) fn internal() -> Result<Client, StackError> {
    let client = client(Trust::Nobody)?.timeout(TIMEOUT).build();
    client.map_err(io::Error::other).attempt(|| "make an HTTP client".to_owned())
}
