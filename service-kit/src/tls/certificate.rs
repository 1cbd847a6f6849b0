//! A server's certificate, which is read from its files again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::env::{ConfigError, Env};
use crate::tls::{certificates_in, install_provider};

const CERT_FILE: &str = "TLS_CERT_FILE";
const KEY_FILE: &str = "TLS_KEY_FILE";
/// How often the files are read again.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("'{0}' cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// The file of the certificate is no PEM, or has other contents.
    #[error("'{0}' has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    /// The file of the key is no PEM, or has other contents.
    #[error("'{0}' has no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey(PathBuf),
    /// The two do not belong together, or are of an unknown kind.
    #[error("the certificate in '{0}' and the key in '{1}' cannot be used together: {2}")]
    Unfit(PathBuf, PathBuf, rustls::Error),
}

/// A server's certificate and its key. Clones share it.
#[derive(Clone, Debug)]
pub struct ServerCertificate(Arc<Files>);

#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    /// What they held at the start.
    first: Contents,
    current: ArcSwap<CertifiedKey>,
}

/// What two files hold.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// Without the key.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Reads the files that `TLS_CERT_FILE` and `TLS_KEY_FILE` name; `None` without them.
    ///
    /// # Errors
    /// When only one is named, or they cannot be used.
    pub fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        const EXAMPLE: &str = "/etc/tandem/tls/server.pem";
        let chain: PathBuf = env.parse(CERT_FILE, "", EXAMPLE)?;
        let key: PathBuf = env.parse(KEY_FILE, "", "/etc/tandem/tls/server.key")?;
        let fault = |variable, fault: String| ConfigError { variable, fault, example: EXAMPLE };
        match (chain.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, false) => {
                let read = Self::read(&chain, &key);
                read.map(Some).map_err(|error| fault(CERT_FILE, error.to_string()))
            }
            (true, false) => Err(fault(CERT_FILE, format!("is not set, but {KEY_FILE} is"))),
            (false, true) => Err(fault(CERT_FILE, format!("is set, but {KEY_FILE} is not"))),
        }
    }

    /// Reads the certificate, with those between it and its authority, and its key.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        install_provider();
        let first = Contents::read(chain, key)?;
        let current = ArcSwap::from_pointee(first.parse(chain, key)?);
        Ok(Self(Arc::new(Files { chain: chain.to_owned(), key: key.to_owned(), first, current })))
    }

    /// The files: of the certificate, and of the key.
    pub fn paths(&self) -> (&Path, &Path) {
        (&self.0.chain, &self.0.key)
    }

    /// The configuration of a server with this certificate, the current one at each handshake.
    pub fn server_config(&self) -> ServerConfig {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&self.0) as _;
        ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver)
    }

    /// Reads the files every ten seconds, forever, and uses what has changed. What cannot be used
    /// changes nothing, and is logged once.
    pub async fn follow(self) {
        let Files { chain, key, first, current } = &*self.0;
        // They may have changed since.
        let mut known = Some(first.clone());
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let found = Contents::read(chain, key);
            // Two files cannot be replaced at once, so a pair that does not fit is read again.
            if found.as_ref().ok() == known.as_ref() {
                continue;
            }
            match found
                .as_ref()
                .map_err(ToString::to_string)
                .and_then(|found| found.parse(chain, key).map_err(|error| error.to_string()))
            {
                Ok(parsed) => {
                    current.store(Arc::new(parsed));
                    tracing::info!(file = %chain.display(), "the certificate was read again");
                }
                Err(error) => {
                    tracing::warn!(%error, "the certificate has changed, and cannot be used");
                }
            }
            known = found.ok();
        }
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Contents {
    fn read(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| CertificateError::Unreadable(path.to_owned(), error))
        };
        Ok(Self { chain: read(chain)?, key: read(key)? })
    }

    fn parse(&self, chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
        let certificates = certificates_in(&self.chain)
            .ok_or_else(|| CertificateError::NoCertificate(chain.to_owned()))?;
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| CertificateError::NoKey(key.to_owned()))?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(certificates, private, &provider)
            .map_err(|error| CertificateError::Unfit(chain.to_owned(), key.to_owned(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        let pair = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        fs::write(&chain, params.self_signed(&pair).expect("signed").pem()).expect("written");
        fs::write(&key, pair.serialize_pem()).expect("written");
        (chain, key)
    }

    fn of(env: &[(&str, &str)]) -> Result<Option<ServerCertificate>, ConfigError> {
        ServerCertificate::from_env(&Env::from_pairs(env.iter().copied()))
    }

    #[test]
    fn files_that_do_not_fit_are_named_with_their_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = issue(folder.path(), "a");
        let (_, other) = issue(folder.path(), "b");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (chain, key, other) = (text(&chain), text(&key), text(&other));
        assert!(of(&[]).expect("off").is_none());
        assert!(of(&[(CERT_FILE, &chain), (KEY_FILE, &key)]).expect("both").is_some());
        for (env, fault) in [
            (&[(CERT_FILE, &*chain)][..], "is set, but TLS_KEY_FILE is not"),
            (&[(KEY_FILE, &*key)], "is not set, but TLS_KEY_FILE is"),
            (&[(CERT_FILE, "/absent"), (KEY_FILE, &*key)], "'/absent' cannot be read"),
            (&[(CERT_FILE, &*key), (KEY_FILE, &*key)], "has no certificate in PEM"),
            (&[(CERT_FILE, &*chain), (KEY_FILE, &*chain)], "has no private key in PEM"),
            (&[(CERT_FILE, &*chain), (KEY_FILE, &*other)], "cannot be used together"),
        ] {
            let error = of(env).expect_err(fault).to_string();
            assert!(error.starts_with(CERT_FILE) && error.contains(fault), "{error}");
            assert!(!error.contains("BEGIN EC"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_certificate_is_used_and_one_that_does_not_fit_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = issue(folder.path(), "a");
        let certificate = ServerCertificate::read(&chain, &key).expect("a certificate");
        let current = || certificate.0.current.load().cert[0].clone();
        let first = current();
        let following = tokio::spawn(certificate.clone().follow());
        let read_again = async || tokio::time::sleep(READ_EVERY * 2).await;

        read_again().await;
        assert_eq!(current(), first, "nothing has changed");
        let (other_chain, other_key) = issue(folder.path(), "b");
        fs::copy(&other_chain, &chain).expect("copied");
        read_again().await;
        assert_eq!(current(), first, "its key is missing");
        fs::copy(&other_key, &key).expect("copied");
        read_again().await;
        assert_ne!(current(), first, "renewed");
        following.abort();
    }
}
