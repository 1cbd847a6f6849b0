//! The key that signs users' tokens: made once per state folder.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ED25519};

use crate::error::{Attempt, StackError};
use crate::secrets::write_private;

/// The folder of the private key, for the issuer, and the public key, for all others.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeys {
    pub(crate) dir: PathBuf,
    pub(crate) public_pem: String,
}

impl TokenKeys {
    /// Reads the key of a state folder, or makes one.
    pub(crate) fn load_or_make(state: &Path) -> Result<Self, StackError> {
        let dir = state.join("token-keys");
        fs::create_dir_all(&dir).attempt(|| format!("make {}", dir.display()))?;
        let file = dir.join("1.pem");
        let key = match fs::read_to_string(&file) {
            Ok(pem) => KeyPair::from_pem(&pem)?,
            Err(_) => {
                let key = KeyPair::generate_for(&PKCS_ED25519)?;
                write_private(&file, key.serialize_pem().as_bytes())
                    .attempt(|| format!("write {}", file.display()))?;
                key
            }
        };
        Ok(Self { dir, public_pem: key.public_key_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let state = tempfile::tempdir().expect("temporary folder");
        let first = TokenKeys::load_or_make(state.path()).expect("made");
        let again = TokenKeys::load_or_make(state.path()).expect("read");
        assert_eq!(first.public_pem, again.public_pem);
        assert!(first.public_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
