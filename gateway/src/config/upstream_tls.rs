//! TLS to the instances of a pool.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use service_kit::tls::{Trust, TrustError};
use xxhash_rust::xxh3::xxh3_64;

/// TLS to the instances of a pool. Clones share the tickets of earlier connections.
#[derive(Clone)]
pub struct UpstreamTls {
    /// The name that the certificate of each instance must have.
    pub server_name: ServerName<'static>,
    /// The file of the authorities; `None`: the system's.
    ca_file: Option<PathBuf>,
    /// A hash of the authorities in it.
    authorities: u64,
    /// Verifies it, and offers HTTP/1.1.
    pub client: Arc<ClientConfig>,
}

/// The setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// Not a name that a certificate may have.
    #[error("is {0:?}; write a DNS name or an address that is in the certificate of each instance")]
    Name(String),
    /// The file of the authorities has keys, or lists of revoked certificates.
    #[error("needs a file of authorities, and '{0}' has more than certificates in it")]
    OtherContents(PathBuf),
    /// There are no authorities.
    #[error("needs the certificates of authorities: {0}")]
    Trust(#[from] TrustError),
}

impl UpstreamTls {
    /// TLS to instances with this name.
    ///
    /// # Errors
    /// When it is no name, or the system has no authorities.
    pub fn new(name: &str, trust: &Trust) -> Result<Self, InvalidTls> {
        let server_name =
            ServerName::try_from(name).map_err(|_| InvalidTls::Name(name.to_owned()))?.to_owned();
        let mut client = trust.client_config()?;
        if let Some(file) = trust.path() {
            // Pingora reads it, too, and ends the process over anything else in it.
            let text = fs::read_to_string(file).unwrap_or_default();
            if text.matches("-----BEGIN ").count() != trust.of_file().len() {
                return Err(InvalidTls::OtherContents(file.to_owned()));
            }
        }
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let ca_file = trust.path().map(Path::to_owned);
        let authorities = trust.of_file().iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>();
        let authorities = xxh3_64(&authorities.concat());
        Ok(Self { server_name, ca_file, authorities, client: Arc::new(client) })
    }

    /// The name as text.
    pub fn name(&self) -> String {
        self.server_name.to_str().into_owned()
    }

    /// The file of the authorities, for clients that read it themselves; `None`: the system's.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {:?} {:x}", self.name(), self.ca_file, self.authorities)
    }
}
