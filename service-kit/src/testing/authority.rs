//! An authority that signs certificates for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use tempfile::TempDir;

use crate::tls::{ServerCertificate, Trust, install_provider};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// When a certificate is valid now: from yesterday until tomorrow.
pub const VALID: (i64, i64) = (-1, 1);

/// An authority, with its files in a temporary folder.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    folder: TempDir,
}

/// The files of a server's certificate, with its chain, and of its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        install_provider();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let folder = tempfile::tempdir().expect("a folder");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        fs::write(folder.path().join("ca.pem"), pem).expect("written");
        Self { params, key, folder }
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file of its own certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// It alone is trusted.
    pub fn trusted(&self) -> Trust {
        Trust::file(&self.ca_file()).expect("an authority")
    }

    /// A server's certificate with these names, valid from and until so many days from now.
    pub fn issue(&self, file: &str, names: &[&str], days: (i64, i64)) -> Issued {
        let day = |day: i64| match u32::try_from(day) {
            Ok(later) => SystemTime::now() + DAY * later,
            Err(_) => SystemTime::now() - DAY * u32::try_from(-day).expect("a few days"),
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (day(days.0).into(), day(days.1).into());
        let pair = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(self.params.clone(), &self.key);
        let certificate = params.signed_by(&pair, &issuer).expect("signed");
        let folder = self.folder.path();
        let issued = Issued {
            chain: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
        };
        fs::write(&issued.chain, certificate.pem()).expect("written");
        fs::write(&issued.key, pair.serialize_pem()).expect("written");
        issued
    }

    /// A server with such a certificate.
    pub fn server(&self, name: &str, days: (i64, i64)) -> Arc<ServerConfig> {
        let Issued { chain, key } = self.issue("server", &[name], days);
        let certificate = ServerCertificate::read(&chain, &key).expect("a certificate");
        Arc::new(certificate.server_config())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
