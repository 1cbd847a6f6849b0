//! Bearer tokens: JWTs signed with Ed25519, verified offline by public keys, and their issuer's
//! keys.

use std::time::Duration;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, get_current_timestamp};
use moka::sync::Cache;
use proto_contracts::security_event::{MAX_BYTES, SecurityEvent, TOKEN_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

mod authorization;
mod ed25519;
mod fetch;
mod key_set;
mod keys;
mod settings;
mod signing;

pub use authorization::{authorization, invalid_token, is_secret, rejected, sent_token};
pub use key_set::KeySet;
pub use keys::{PublicKey, UnusableKey};
pub use settings::{JwksUrl, KeySource, TokenSettings};
pub use signing::{SigningKey, UnusableSigningKey};

use key_set::Keys;

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Allowed clock skew to the issuer, in seconds.
const LEEWAY_S: u64 = 10;
/// Size of the cache of verified tokens; some 100 bytes each.
const CACHE_SIZE: u64 = 10_000;
/// How long a verified token is cached. Its expiry is checked on each request.
const CACHE_TTL: Duration = Duration::from_mins(15);

/// The token of `Authorization: Bearer <token>`, given the header's value. The scheme may be
/// written in any case.
pub fn bearer_token(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Verifies tokens. `S` is the program's type for a subject.
pub struct TokenVerifier<S> {
    keys: KeySet,
    validation: Validation,
    /// Of security events, which do not expire.
    event_validation: Validation,
    name: fn(&Claims) -> S,
    // By the token's digest, so that the cache holds no usable token.
    verified: Cache<[u8; 32], Verified<S>>,
}

#[derive(Clone)]
struct Verified<S> {
    subject: S,
    /// The version of the keys.
    generation: u64,
    /// In seconds since 1970.
    expires: u64,
}

impl<S: Clone + Send + Sync + 'static> TokenVerifier<S> {
    /// `name` turns the claims into the subject.
    pub fn new(settings: TokenSettings, name: fn(&Claims) -> S) -> Self {
        ed25519::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[settings.issuer]);
        validation.set_audience(&[settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut event_validation = validation.clone();
        event_validation.validate_exp = false;
        event_validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        let verified = Cache::builder().max_capacity(CACHE_SIZE).time_to_live(CACHE_TTL).build();
        Self { keys: KeySet::new(settings.keys), validation, event_validation, name, verified }
    }

    /// The keys that it verifies by.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// The token's subject.
    ///
    /// # Errors
    /// See [`InvalidToken`].
    pub fn verify(&self, token: &[u8]) -> Result<S, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let keys = self.keys.current().ok_or(InvalidToken::KeysUnavailable)?;
        let digest = Sha256::digest(token).into();
        let cached = self.verified.get(&digest);
        let verified = match cached.filter(|cached| cached.generation == keys.generation) {
            Some(verified) => verified,
            None => {
                let verified = self.verify_signature(token, &keys)?;
                self.verified.insert(digest, verified.clone());
                verified
            }
        };
        if verified.expires.saturating_add(LEEWAY_S) < get_current_timestamp() {
            return Err(InvalidToken::Expired);
        }
        Ok(verified.subject)
    }

    /// A security event of the issuer. It is not cached.
    ///
    /// # Errors
    /// See [`InvalidToken`].
    pub fn verify_event(&self, token: &[u8]) -> Result<SecurityEvent, InvalidToken> {
        let keys = self.keys.current().ok_or(InvalidToken::KeysUnavailable)?;
        let is_event = |header: &Header| {
            header.typ.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(TOKEN_TYPE))
        };
        if token.len() > MAX_BYTES || !is_event(&decode_header(token)?) {
            return Err(InvalidToken::Malformed);
        }
        self.decoded(token, &keys, &self.event_validation)
    }

    fn verify_signature(&self, token: &[u8], keys: &Keys) -> Result<Verified<S>, InvalidToken> {
        let claims = self.decoded::<Claims>(token, keys, &self.validation)?;
        self.verified(&claims, keys.generation)
    }

    /// The claims of a token that one of the keys has signed.
    fn decoded<T: DeserializeOwned>(
        &self,
        token: &[u8],
        keys: &Keys,
        validation: &Validation,
    ) -> Result<T, InvalidToken> {
        let renamed = ed25519::Renamed::of(token);
        let token = renamed.as_ref().map_or(token, |renamed| &renamed.token);
        let header = decode_header(token)?;
        // A critical extension, of which none is supported (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(InvalidToken::Malformed);
        }
        let mut outcome = None;
        for key in keys.list.iter().filter(|key| key.may_have_signed(&header)) {
            let decoded = match &renamed {
                None => decode::<T>(token, key.decoding_key(), validation),
                Some(renamed) => {
                    renamed.key(key).and_then(|key| decode::<T>(token, &key, validation))
                }
            };
            match decoded {
                Ok(token) => return Ok(token.claims),
                Err(error) => outcome = Some(error.into()),
            }
        }
        Err(match outcome {
            Some(error) => error,
            None if self.keys.may_be_outdated() => InvalidToken::KeysUnavailable,
            None => InvalidToken::Untrusted,
        })
    }

    fn verified(&self, claims: &Claims, generation: u64) -> Result<Verified<S>, InvalidToken> {
        if claims.sub.is_empty() {
            return Err(InvalidToken::Malformed);
        }
        // A cast from a float saturates.
        let (subject, expires) = ((self.name)(claims), claims.exp.round() as u64);
        Ok(Verified { subject, generation, expires })
    }
}

impl PublicKey {
    /// Key and token match by key id, if both have one.
    fn may_have_signed(&self, header: &Header) -> bool {
        match (self.id(), &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        }
    }
}

/// The claims of a verified token.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The user, as the issuer names it.
    pub sub: String,
    /// What the user may do, in tokens of our own issuer.
    #[serde(default)]
    pub role: Option<String>,
    /// When it was issued, in seconds since 1970. RFC 7519 allows fractions.
    #[serde(default)]
    iat: Option<f64>,
    /// When it expires.
    exp: f64,
}

impl Claims {
    /// When the token was issued, in whole seconds since 1970; 0 when it does not say.
    pub fn issued_at(&self) -> i64 {
        // A cast from a float saturates.
        self.iat.map_or(0, |iat| iat.floor() as i64)
    }
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Not a signed JWT with the required claims.
    #[error("the token is not a JWT with the claims exp, iss, aud and sub")]
    Malformed,
    /// Not signed by one of the issuer's keys.
    #[error("the token is not signed with EdDSA (Ed25519) by a trusted key")]
    Untrusted,
    /// Of another issuer, or for another audience.
    #[error("the token is of another issuer or for another audience")]
    Foreign,
    /// After `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    Early,
    /// The issuer's keys, or its newest one, are not known yet. The token may be valid.
    #[error("the keys of tokens are not known yet")]
    KeysUnavailable,
}

impl From<Error> for InvalidToken {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Self::Untrusted,
            ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Self::Foreign,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::Early,
            _ => Self::Malformed,
        }
    }
}
