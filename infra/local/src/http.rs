//! HTTP clients for what the stack runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

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
pub(crate) fn client(trust: Trust<'_>) -> Result<reqwest::ClientBuilder, StackError> {
    let mut roots = RootCertStore::empty();
    if let Trust::Authority(file) = trust {
        let bad = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
        let what = || format!("use the certificate in {}", file.display());
        let cert = CertificateDer::from_pem_file(file).map_err(|error| bad(&error)).attempt(what)?;
        roots.add(cert).map_err(|error| bad(&error)).attempt(what)?;
    }
    // The provider by name, since a process-wide default is the program's choice and not a library's.
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StackError::Control(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none()))
}

/// A client for the stack's own plain listeners.
pub(crate) fn internal() -> Result<reqwest::Client, StackError> {
    let client = client(Trust::Nobody)?.timeout(TIMEOUT).build();
    client.map_err(|error| StackError::Control(error.to_string()))
}
