//! Bearer tokens: JWTs signed with Ed25519. Who verifies them holds no secret and asks nobody.

use std::time::Duration;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, get_current_timestamp};
use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

mod ed25519;
mod keys;
mod settings;

pub use keys::{PublicKey, UnusableKey};
pub use settings::TokenSettings;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// By how many seconds our clock and the issuer's may differ.
const LEEWAY_S: u64 = 10;
/// How many verified tokens are remembered, so that they need not be verified with each request; some 100 bytes each.
const REMEMBERED: u64 = 10_000;
/// For how long; a token that expires before is looked at again.
const REMEMBERED_FOR: Duration = Duration::from_mins(15);

/// The token of `Authorization: Bearer <token>`, given the header's value. The scheme may be written in any case.
pub fn bearer_token(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Verifies tokens, and keeps of each subject what the program knows it by: an `S`.
pub struct TokenVerifier<S> {
    keys: Vec<PublicKey>,
    validation: Validation,
    name: fn(issuer: &str, subject: &str) -> S,
    // By the digest of the whole token, so that the memory holds none that could be sent.
    verified: Cache<[u8; 32], Verified<S>>,
}

#[derive(Clone, Copy)]
struct Verified<S> {
    subject: S,
    /// In seconds since 1970.
    expires: u64,
}

impl<S: Copy + Send + Sync + 'static> TokenVerifier<S> {
    /// Accepts tokens by these settings; `name` turns the claims `iss` and `sub` into what the subject is known by.
    pub fn new(settings: TokenSettings, name: fn(issuer: &str, subject: &str) -> S) -> Self {
        ed25519::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[settings.issuer]);
        validation.set_audience(&[settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { keys: settings.keys, validation, name, verified }
    }

    /// Whom the token names.
    ///
    /// # Errors
    /// The token is none of our issuer's for us, or this is not its time.
    pub fn verify(&self, token: &[u8]) -> Result<S, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let digest = Sha256::digest(token).into();
        let verified = match self.verified.get(&digest) {
            Some(verified) => verified,
            None => {
                let verified = self.verify_anew(token)?;
                self.verified.insert(digest, verified);
                verified
            }
        };
        if verified.expires.saturating_add(LEEWAY_S) < get_current_timestamp() {
            return Err(InvalidToken::Expired);
        }
        Ok(verified.subject)
    }

    fn verify_anew(&self, token: &[u8]) -> Result<Verified<S>, InvalidToken> {
        let renamed = ed25519::Renamed::of(token);
        let token = renamed.as_ref().map_or(token, |renamed| &renamed.token);
        let header = decode_header(token)?;
        // An extension that must be understood, and is not (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(InvalidToken::Malformed);
        }
        let mut outcome = Err(InvalidToken::Untrusted);
        for key in self.keys.iter().filter(|key| key.may_have_signed(&header)) {
            let decoded = match &renamed {
                None => decode::<Claims>(token, key.decoding_key(), &self.validation),
                Some(renamed) => renamed.key(key).and_then(|key| decode::<Claims>(token, &key, &self.validation)),
            };
            match decoded {
                Ok(token) => return self.verified(&token.claims),
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome
    }

    fn verified(&self, claims: &Claims) -> Result<Verified<S>, InvalidToken> {
        if claims.sub.is_empty() {
            return Err(InvalidToken::Malformed);
        }
        // A cast from a float stops at the ends of the range.
        Ok(Verified { subject: (self.name)(&claims.iss, &claims.sub), expires: claims.exp.round() as u64 })
    }
}

impl PublicKey {
    /// A key that has a name signs the tokens that give it; a token without a name may be of any key.
    fn may_have_signed(&self, header: &Header) -> bool {
        match (self.id(), &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// RFC 7519 allows fractions.
    exp: f64,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It is no signed JWT with the claims that it must have.
    #[error("the token is not a JWT with the claims exp, iss, aud and sub")]
    Malformed,
    /// None of the issuer's keys made its signature.
    #[error("the token is not signed with EdDSA (Ed25519) by a key that is trusted here")]
    Untrusted,
    /// It is of another issuer, or for somebody else.
    #[error("the token is of another issuer or for another audience")]
    Foreign,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
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
