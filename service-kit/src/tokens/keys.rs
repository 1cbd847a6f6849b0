//! The issuer's public keys, from PEM or a key set.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// The prefix of an Ed25519 key's 32 bytes in a `SubjectPublicKeyInfo` (RFC 8410, section 4).
const ED25519_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
pub(super) const KEY_BYTES: usize = 32;

/// An Ed25519 public key with an optional key id.
#[derive(Clone, Debug)]
pub struct PublicKey {
    id: Option<String>,
    key: DecodingKey,
}

impl PublicKey {
    pub(super) fn new(id: Option<String>, key: DecodingKey) -> Self {
        Self { id, key }
    }

    /// Parses a PEM document of the kind `PUBLIC KEY`. Line ends may be the two characters `\n`,
    /// for environment files that allow no others.
    ///
    /// # Errors
    /// See [`UnusableKey`].
    pub fn from_pem(text: &str) -> Result<Self, UnusableKey> {
        let text = text.replace("\\n", "\n");
        if text.contains("PRIVATE KEY-----") {
            return Err(UnusableKey::Private);
        }
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_| UnusableKey::NoPem)?;
        match info.strip_prefix(&ED25519_PREFIX) {
            Some(key) if key.len() == KEY_BYTES => {
                Ok(Self { id: None, key: DecodingKey::from_ed_der(key) })
            }
            _ => Err(UnusableKey::NotEd25519),
        }
    }

    /// Parses a JSON Web Key Set (RFC 7517). Keys of other kinds are ignored.
    ///
    /// # Errors
    /// See [`UnusableKey`].
    pub fn from_jwks(text: &str) -> Result<Vec<Self>, UnusableKey> {
        let set: JwkSet = serde_json::from_str(text).map_err(|_| UnusableKey::NoJwks)?;
        let mut keys = Vec::new();
        for jwk in set.keys {
            if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
                && pair.curve == EllipticCurve::Ed25519
            {
                let key = DecodingKey::from_jwk(&jwk).map_err(|_| UnusableKey::NotEd25519)?;
                if key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() != KEY_BYTES) {
                    return Err(UnusableKey::NotEd25519);
                }
                keys.push(Self { id: jwk.common.key_id, key });
            }
        }
        if keys.is_empty() { Err(UnusableKey::NotEd25519) } else { Ok(keys) }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &Self| key.key.try_get_as_bytes().ok().map(<[u8]>::to_vec);
        self.id == other.id && bytes(self) == bytes(other)
    }
}

/// Why a key is rejected. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// Not a PEM document of the kind `PUBLIC KEY`.
    #[error("is not a PEM document of the kind PUBLIC KEY")]
    NoPem,
    /// A private key.
    #[error("holds a private key, which only the issuer may have")]
    Private,
    /// Not a JSON Web Key Set.
    #[error("is not a JSON Web Key Set")]
    NoJwks,
    /// No Ed25519 key.
    #[error("holds no Ed25519 public key")]
    NotEd25519,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of RFC 8410, section 10.1, in both forms.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                       -----END PUBLIC KEY-----\n";
    const X: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";

    #[test]
    fn both_forms_give_the_same_key() {
        let pem = PublicKey::from_pem(PEM).expect("a key");
        let one_line = PublicKey::from_pem(&PEM.replace('\n', "\\n")).expect("a key");
        let other = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
        let jwks =
            format!(r#"{{"keys":[{other},{{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"{X}"}}]}}"#);
        let [jwk] = &PublicKey::from_jwks(&jwks).expect("keys")[..] else { panic!("one key") };
        let bytes =
            |key: &PublicKey| key.decoding_key().try_get_as_bytes().expect("bytes").to_vec();
        assert_eq!(bytes(&pem), bytes(jwk));
        assert_eq!(bytes(&pem), bytes(&one_line));
        assert_eq!((pem.id(), jwk.id()), (None, Some("k1")));
    }

    #[test]
    fn other_keys_are_rejected() {
        let private = PEM.replace("PUBLIC", "PRIVATE");
        let truncated = PEM.replace("MCowBQYDK2VwAyEAGb9E", "MCowBQYDK2VwAyEA");
        for (text, error) in [
            ("", UnusableKey::NoPem),
            ("hunter2", UnusableKey::NoPem),
            (&private, UnusableKey::Private),
            (&truncated, UnusableKey::NotEd25519),
        ] {
            assert_eq!(PublicKey::from_pem(text).expect_err(text), error);
        }
        for (text, error) in [
            ("", UnusableKey::NoJwks),
            ("{}", UnusableKey::NoJwks),
            (r#"{"keys":[]}"#, UnusableKey::NotEd25519),
            (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, UnusableKey::NotEd25519),
            (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}"#, UnusableKey::NotEd25519),
        ] {
            assert_eq!(PublicKey::from_jwks(text).expect_err(text), error, "{text}");
        }
    }
}
