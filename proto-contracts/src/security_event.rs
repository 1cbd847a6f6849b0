//! The event by which the issuer revokes tokens: a Security Event Token (RFC 8417), pushed by HTTP
//! (RFC 8935).

use serde::{Deserialize, Serialize};

/// The media type of a request's body, which is the signed token.
pub const MEDIA_TYPE: &str = "application/secevent+jwt";
/// The token's header `typ`, by which it is told from an access token.
pub const TOKEN_TYPE: &str = "secevent+jwt";
/// The most bytes of a token.
pub const MAX_BYTES: usize = 8 * 1024;

/// The claims of the token. It has no `exp`, so no program takes it for an access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityEvent {
    /// The issuer, which signs it by the key of its access tokens.
    pub iss: String,
    /// The audience.
    pub aud: String,
    /// When it was signed, in seconds since 1970.
    pub iat: i64,
    /// Its id; a repetition has the same.
    pub jti: String,
    /// The user.
    pub sub: String,
    /// What happened.
    pub events: Events,
}

/// The events of a token, of which there is one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Tokens of the user are revoked.
    #[serde(rename = "urn:tandem:event:tokens-revoked")]
    pub tokens_revoked: TokensRevoked,
}

/// Tokens of a user that were issued before a moment are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensRevoked {
    /// The earliest `iat` of a token that is valid, in seconds since 1970.
    pub not_before: i64,
}
