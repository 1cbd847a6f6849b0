//! The key that signs users' tokens: made once per state folder.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ED25519};

use crate::error::{Attempt, StackError};
use crate::secrets::write_private;

/// The folder of the issuer's private keys.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeys {
    pub(crate) dir: PathBuf,
}

impl TokenKeys {
    /// The keys of a state folder; the first one is made.
    pub(crate) fn load_or_make(state: &Path) -> Result<Self, StackError> {
        let dir = state.join("token-keys");
        fs::create_dir_all(&dir).attempt(|| format!("make {}", dir.display()))?;
        let file = dir.join("1.pem");
        if !file.exists() {
            let key = KeyPair::generate_for(&PKCS_ED25519)?;
            write_private(&file, key.serialize_pem().as_bytes())
                .attempt(|| format!("write {}", file.display()))?;
        }
        Ok(Self { dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let state = tempfile::tempdir().expect("temporary folder");
        let read = || {
            let keys = TokenKeys::load_or_make(state.path()).expect("a folder");
            fs::read_to_string(keys.dir.join("1.pem")).expect("a key")
        };
        let first = read();
        assert_eq!(first, read());
        assert!(first.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
