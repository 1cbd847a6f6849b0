//! The issuer's private keys: they sign tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use proto_contracts::security_event::{SecurityEvent, TOKEN_TYPE};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::keys::PublicKey;

/// An Ed25519 private key with its id. `Debug` hides it.
pub struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Parses a PEM document of the kind `PRIVATE KEY`, such as `openssl genpkey -algorithm
    /// ed25519` writes it.
    ///
    /// # Errors
    /// [`UnusableSigningKey`] for any other text.
    pub fn from_pem(id: impl Into<String>, pem: &[u8]) -> Result<Self, UnusableSigningKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| UnusableSigningKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| UnusableSigningKey)?;
        Ok(Self { id: id.into(), pair })
    }

    /// The key's id, as the claim `kid` has it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A JWT with these claims (RFC 7519).
    ///
    /// # Errors
    /// When the claims cannot be serialized.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, serde_json::Error> {
        self.sign_as("JWT", claims)
    }

    /// A security event (RFC 8417).
    ///
    /// # Errors
    /// When the claims cannot be serialized.
    pub fn sign_event(&self, event: &SecurityEvent) -> Result<String, serde_json::Error> {
        self.sign_as(TOKEN_TYPE, event)
    }

    fn sign_as(&self, kind: &str, claims: &impl Serialize) -> Result<String, serde_json::Error> {
        let header = json!({"alg": "EdDSA", "typ": kind, "kid": self.id}).to_string();
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The key that verifies its tokens.
    pub fn public_key(&self) -> PublicKey {
        let key = DecodingKey::from_ed_der(self.pair.public_key().as_ref());
        PublicKey::new(Some(self.id.clone()), key)
    }

    /// The same as a JSON Web Key (RFC 8037).
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": x})
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// The text is not an Ed25519 private key. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an Ed25519 key in a PEM document of the kind PRIVATE KEY")]
pub struct UnusableSigningKey;
