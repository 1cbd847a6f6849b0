//! Ed25519 by *ring*, which the workspace uses for TLS already: the providers that `jsonwebtoken` brings need a C compiler
//! or a second family of crates.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Makes `jsonwebtoken` verify by this file, and sign nothing.
pub(super) fn install() {
    // It fails when it was done before, by a verifier before this one.
    let _already_installed = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => Ok(Box::new(EdDsa::new(key)?)),
        _ => Err(unsupported()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn unsupported() -> Error {
    ErrorKind::InvalidAlgorithm.into()
}

struct EdDsa(UnparsedPublicKey<Vec<u8>>);

impl EdDsa {
    fn new(key: &DecodingKey) -> Result<Self, Error> {
        match key.family() {
            AlgorithmFamily::Ed => Ok(Self(UnparsedPublicKey::new(&ED25519, key.try_get_as_bytes()?.to_vec()))),
            _ => Err(unsupported()),
        }
    }
}

impl Verifier<Vec<u8>> for EdDsa {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.verify(message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for EdDsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
