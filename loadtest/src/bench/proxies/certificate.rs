//! The certificate of the proxies' TLS listeners.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// PEM files.
pub(super) struct Certificate {
    /// The certificate, which is its own authority.
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Both in one file, as HAProxy reads them.
    pub(super) both: PathBuf,
}

impl Certificate {
    /// Issues one for 127.0.0.1.
    pub(super) fn issue(folder: &Path) -> Result<Self> {
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .context("cannot issue a certificate")?;
        let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            cert: write("cert.pem", &cert)?,
            key: write("key.pem", &key)?,
            both: write("both.pem", &format!("{cert}{key}"))?,
        })
    }

    /// Their paths by placeholder.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let files = [("cert", &self.cert), ("key", &self.key), ("cert_and_key", &self.both)];
        files.map(|(word, path)| (word, path.display().to_string())).into()
    }
}
