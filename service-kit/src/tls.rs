//! TLS: whose certificates of servers are trusted, what a failed handshake means, and a server's own
//! certificate.
//!
//! **Invariant:** a connection by TLS is verified in full, chain and name. No setting turns that
//! off.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::env::{ConfigError, Env};

mod certificate;

pub use certificate::{CertificateError as ServerCertificateError, ServerCertificate};

/// The variable that names the file of trusted authorities.
const CA_FILE: &str = "TLS_CA_FILE";
const EXAMPLE: &str = "/etc/tandem/tls/ca.pem";

/// The authorities whose certificates a client accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust(Arc<Authorities>);

#[derive(PartialEq, Eq)]
struct Authorities {
    /// `None`: the system's.
    file: Option<PathBuf>,
    certificates: Vec<CertificateDer<'static>>,
}

/// The authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("'{0}' cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// It is no PEM, or has other contents.
    #[error("'{0}' has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    /// One of its certificates is not an authority's.
    #[error("'{0}' has a certificate that cannot be an authority's: {1}")]
    Invalid(PathBuf, rustls::Error),
    /// There is no system store.
    #[error("the system has no certificates of authorities; name a file")]
    NoSystemStore,
}

impl Trust {
    /// Reads `TLS_CA_FILE`; without it, the system's authorities are trusted once they are needed.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let file: PathBuf = env.parse(CA_FILE, "", EXAMPLE)?;
        if file.as_os_str().is_empty() {
            return Ok(Self::system());
        }
        Self::file(&file).map_err(|error| ConfigError {
            variable: CA_FILE,
            fault: error.to_string(),
            example: EXAMPLE,
        })
    }

    /// The system's authorities.
    pub fn system() -> Self {
        Self(Arc::new(Authorities { file: None, certificates: Vec::new() }))
    }

    /// Those in a file of PEM.
    ///
    /// # Errors
    /// When it cannot be read, or has no certificate, or one that cannot be an authority's.
    pub fn file(path: &Path) -> Result<Self, TrustError> {
        let pem = fs::read(path).map_err(|error| TrustError::Unreadable(path.to_owned(), error))?;
        let certificates =
            certificates_in(&pem).ok_or_else(|| TrustError::NoCertificate(path.to_owned()))?;
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store
                .add(certificate.clone())
                .map_err(|error| TrustError::Invalid(path.to_owned(), error))?;
        }
        Ok(Self(Arc::new(Authorities { file: Some(path.to_owned()), certificates })))
    }

    /// The file of the authorities; `None` for the system's.
    pub fn path(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The certificates in the file; empty when the system's authorities are trusted.
    pub fn of_file(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }

    /// The certificates of the authorities.
    ///
    /// # Errors
    /// When the system has none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let certificates = match self.0.file {
            Some(_) => self.0.certificates.clone(),
            // Some stores have a few that cannot be read.
            None => rustls_native_certs::load_native_certs().certs,
        };
        if certificates.is_empty() { Err(TrustError::NoSystemStore) } else { Ok(certificates) }
    }

    /// The same in PEM, for clients that parse it themselves.
    ///
    /// # Errors
    /// When the system has none.
    pub fn pem(&self) -> Result<Vec<u8>, TrustError> {
        let mut store = RootCertStore::empty();
        let mut pem = String::new();
        for certificate in self.certificates()? {
            // The system's store may have some that this library does not accept.
            if store.add(certificate.clone()).is_ok() {
                pem += "-----BEGIN CERTIFICATE-----\n";
                pem += &STANDARD.encode(&certificate);
                pem += "\n-----END CERTIFICATE-----\n";
            }
        }
        Ok(pem.into_bytes())
    }

    /// The configuration of a client that accepts certificates of these authorities alone, for the
    /// name that it connects to.
    ///
    /// # Errors
    /// When the system has no authorities.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        install_provider();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates()?);
        Ok(ClientConfig::builder().with_root_certificates(store).with_no_client_auth())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({:?})", self.0.file)
    }
}

/// The certificates in PEM; `None` if there is none, or one that is malformed.
fn certificates_in(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// Makes ring the provider of cryptography of this process. One that is installed is kept.
pub fn install_provider() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// What a failed handshake means, with its cure, after the name of the server. `None` when the error
/// is not TLS's.
pub fn fault(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // The client of Redis shares its errors.
        let error = match error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            Some(shared) => &**shared as &(dyn Error + 'static),
            None => error,
        };
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(error));
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
                return Some(of_tls(error));
            }
            if error.kind() == io::ErrorKind::UnexpectedEof
                && error.to_string().contains("handshake")
            {
                return Some(
                    "closed the connection within the TLS handshake: this port may have no TLS"
                        .to_owned(),
                );
            }
        }
        next = error.source();
    }
    None
}

fn of_tls(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return "has no TLS on this port: use its TLS port, or a URL without TLS".to_owned();
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("rejects the TLS handshake with the alert {alert:?}");
        }
        other => return format!("cannot be connected to by TLS: {other}"),
    };
    match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "has a certificate of an authority that is not trusted here: {CA_FILE} must name the \
             file of its authority"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has a certificate that has expired: renew it and reload the server".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "has a certificate that is not valid yet: compare the clocks of both machines"
                .to_owned()
        }
        CertificateError::NotValidForName => {
            "has a certificate of another name: connect by a name that is in it".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            format!(
                "has a certificate for {}, not for {expected}: connect by a name that is in it",
                if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") }
            )
        }
        other => format!("has a certificate that is not accepted: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<Trust, ConfigError> {
        Trust::from_env(&Env::from_pairs([(CA_FILE, path)]))
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path.to_string_lossy().into_owned()
        };
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (path, fault) in [
            (folder.path().join("absent").to_string_lossy().into_owned(), "cannot be read"),
            (path("empty", ""), "has no certificate"),
            (path("key", &key), "has no certificate"),
            (path("garbage", garbage), "cannot be an authority's"),
        ] {
            let error = read(&path).expect_err(&path).to_string();
            assert!(error.starts_with(CA_FILE) && error.contains(fault), "{error}");
            assert!(error.contains("for example: TLS_CA_FILE=/"), "{error}");
        }
        assert_eq!(read("").expect("the system's").path(), None);
    }

    #[test]
    fn the_authorities_of_a_file_stay_the_same_as_pem() {
        let folder = tempfile::tempdir().expect("a folder");
        let signed = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::default();
            params.self_signed(&key).expect("a certificate").pem()
        };
        let path = folder.path().join("ca.pem");
        fs::write(&path, signed() + &signed()).expect("written");
        let trust = Trust::file(&path).expect("two authorities");
        fs::write(&path, trust.pem().expect("PEM")).expect("written");
        let again = Trust::file(&path).expect("still two");
        let certificates = trust.certificates().expect("two");
        assert_eq!(certificates, again.certificates().expect("two"));
        assert_eq!(certificates.len(), 2);
        assert!(trust.client_config().is_ok());
    }
}
