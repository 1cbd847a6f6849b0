//! The system under load.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use http::Uri;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

/// Which targets are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Loopback addresses only.
    ThisMachine,
    /// Any address.
    Anywhere,
}

/// A target with its resolved address and loaded CA certificate.
#[derive(Clone)]
pub struct Target {
    url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) host: HeaderValue,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The target is invalid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTarget {
    /// Not a URL of the required form.
    #[error("'{0}' is not of the form http://HOST:PORT or https://HOST:PORT, without a path")]
    Url(String),
    /// Its name does not resolve.
    #[error("'{0}' does not resolve")]
    NoAddress(String, #[source] Option<io::Error>),
    /// It is on another machine.
    #[error("{0} is not on this machine; use --allow-remote if you are permitted to load it")]
    Remote(SocketAddr),
    /// The certificate could not be verified.
    #[error("an https target needs --cacert FILE, the CA that signed its certificate")]
    NoAuthority,
    /// Without TLS there is nothing to verify.
    #[error("--cacert has no meaning for an http target")]
    NeedlessAuthority,
    /// The CA file is unusable.
    #[error("--cacert: {} contains no usable PEM certificate", .0.display())]
    Authority(PathBuf, #[source] AuthorityError),
}

/// Why the CA file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file cannot be read or is not PEM.
    #[error("not readable as PEM")]
    Pem(#[from] pem::Error),
    /// The certificate is invalid, or there is none.
    #[error("not usable as a CA certificate")]
    Certificate(#[from] rustls::Error),
}

impl Target {
    /// Checks the URL, resolves its host and loads the CA certificate.
    ///
    /// # Errors
    /// See [`InvalidTarget`].
    pub async fn resolve(
        url: &str,
        cacert: Option<&Path>,
        reach: Reach,
    ) -> Result<Self, InvalidTarget> {
        let malformed = || InvalidTarget::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        let scheme = uri.scheme_str().ok_or_else(malformed)?;
        if !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(malformed());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let addr = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| InvalidTarget::NoAddress(host.to_owned(), Some(error)))?
            .next()
            .ok_or_else(|| InvalidTarget::NoAddress(host.to_owned(), None))?;
        if reach == Reach::ThisMachine && !addr.ip().is_loopback() {
            return Err(InvalidTarget::Remote(addr));
        }
        let tls = match (scheme, cacert) {
            ("https", Some(file)) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| malformed())?;
                let connector = connector(file)
                    .map_err(|error| InvalidTarget::Authority(file.to_owned(), error))?;
                Some((connector, name))
            }
            ("https", None) => return Err(InvalidTarget::NoAuthority),
            ("http", Some(_)) => return Err(InvalidTarget::NeedlessAuthority),
            ("http", None) => None,
            _ => return Err(malformed()),
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            addr,
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?,
            tls,
        })
    }

    /// The URL as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.url)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

fn connector(cacert: &Path) -> Result<TlsConnector, AuthorityError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(cacert)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err(rustls::Error::NoCertificatesPresented.into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
