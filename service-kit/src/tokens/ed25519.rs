//! Ed25519 by *ring*, which the workspace already uses for TLS. `jsonwebtoken`'s own providers need
//! a C compiler or another family of crates.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::PublicKey;
use super::keys::KEY_BYTES;

/// Installs the provider: it verifies Ed25519 and signs nothing.
pub(super) fn install() {
    // It fails after the first call.
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

struct EdDsa {
    key: UnparsedPublicKey<Vec<u8>>,
    /// The signed bytes, if they differ from those that `jsonwebtoken` passes: see [`Renamed`].
    signed: Option<Vec<u8>>,
}

impl EdDsa {
    fn new(key: &DecodingKey) -> Result<Self, Error> {
        let AlgorithmFamily::Ed = key.family() else { return Err(unsupported()) };
        let (key, signed) =
            key.try_get_as_bytes()?.split_at_checked(KEY_BYTES).ok_or_else(unsupported)?;
        let signed = if signed.is_empty() { None } else { Some(signed.to_vec()) };
        Ok(Self { key: UnparsedPublicKey::new(&ED25519, key.to_vec()), signed })
    }
}

impl Verifier<Vec<u8>> for EdDsa {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let signed = self.signed.as_deref().unwrap_or(message);
        self.key.verify(signed, signature).map_err(|_| SignatureError::new())
    }
}

/// A token whose header has the algorithm `Ed25519` (RFC 9864). `jsonwebtoken` supports only the
/// older name `EdDSA`, so it gets the token with that name, and the verifier gets the original
/// signed bytes.
pub(super) struct Renamed {
    pub(super) token: Vec<u8>,
    /// The original first two parts.
    signed: Vec<u8>,
}

impl Renamed {
    /// `None` when the header is malformed or has another algorithm.
    pub(super) fn of(token: &[u8]) -> Option<Self> {
        let end = token.iter().rposition(|&byte| byte == b'.')?;
        let signed = &token[..end];
        let dot = signed.iter().position(|&byte| byte == b'.')?;
        let header = URL_SAFE_NO_PAD.decode(&signed[..dot]).ok()?;
        let mut header: Map<String, Value> = serde_json::from_slice(&header).ok()?;
        let algorithm = header.get_mut("alg").filter(|algorithm| *algorithm == "Ed25519")?;
        *algorithm = Value::from("EdDSA");
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
        Some(Self { token: [header.as_bytes(), &token[dot..]].concat(), signed: signed.to_vec() })
    }

    /// The key with the signed bytes appended: the verifier's only input is the key.
    pub(super) fn key(&self, key: &PublicKey) -> Result<DecodingKey, Error> {
        let key = key.decoding_key().try_get_as_bytes()?;
        Ok(DecodingKey::from_ed_der(&[key, &self.signed].concat()))
    }
}

impl JwtVerifier for EdDsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
