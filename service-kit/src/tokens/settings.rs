//! The trusted issuer of tokens, from the environment.

use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret as _;

use super::PublicKey;
use crate::env::{ConfigError, Env};
use crate::tls::Trust;

/// The trusted issuer of tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Where the issuer's keys come from.
    pub keys: KeySource,
    /// The required claim `iss`.
    pub issuer: String,
    /// The required claim `aud`.
    pub audience: String,
}

/// Where the issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// From the settings.
    Fixed(Vec<PublicKey>),
    /// From the issuer, again and again.
    Fetched(JwksUrl),
}

/// Where the issuer publishes its keys (RFC 7517), and how often they are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// `http` or `https`.
    pub url: Url,
    /// The interval.
    pub every: Duration,
    /// The authorities of an `https` URL.
    pub trust: Trust,
}

/// A day, in seconds: a key that was removed should not be trusted for longer.
const MAX_REFRESH_S: u64 = 24 * 60 * 60;

impl TokenSettings {
    /// The variables that [`from_env`](Self::from_env) reads.
    pub const VARIABLES: [&str; 7] = [
        "JWT_PUBLIC_KEY",
        "JWT_JWKS_FILE",
        "JWT_JWKS_URL",
        "JWT_JWKS_REFRESH_S",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "TLS_CA_FILE",
    ];

    /// Reads `JWT_PUBLIC_KEY`, `JWT_JWKS_FILE` or `JWT_JWKS_URL`, and `JWT_ISSUER` and
    /// `JWT_AUDIENCE`, by default `tandem`. `None` without a key.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used. No key is quoted.
    pub fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        let (pem_variable, pem_example) =
            ("JWT_PUBLIC_KEY", "$(openssl pkey -in private.pem -pubout)");
        let (file_variable, file_example) = ("JWT_JWKS_FILE", "/etc/tandem/jwks.json");
        // Not a secret, but a private key may be given by mistake.
        let pem = env.secret(pem_variable, "", pem_example, |pem| {
            Ok::<_, std::convert::Infallible>(pem.clone())
        })?;
        let file: String = env.parse(file_variable, "", file_example)?;
        let url: JwksUrlText =
            env.parse("JWT_JWKS_URL", "", "http://127.0.0.1:8000/.well-known/jwks.json")?;
        let every = env.seconds("JWT_JWKS_REFRESH_S", "30", 1..=MAX_REFRESH_S)?;
        let in_pem =
            |fault: String| ConfigError { variable: pem_variable, fault, example: pem_example };
        let in_file =
            |fault: String| ConfigError { variable: file_variable, fault, example: file_example };
        let keys = match (pem.expose_secret(), file.as_str(), url.0) {
            ("", "", None) => return Ok(None),
            ("", "", Some(url)) => {
                KeySource::Fetched(JwksUrl { url, every, trust: Trust::from_env(env)? })
            }
            (pem, "", None) => {
                let key = PublicKey::from_pem(pem).map_err(|error| in_pem(error.to_string()))?;
                KeySource::Fixed(vec![key])
            }
            ("", file, None) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| {
                    in_file(format!("is '{file}', which cannot be read: {error}"))
                })?;
                let keys = PublicKey::from_jwks(&text)
                    .map_err(|error| in_file(format!("is '{file}', which {error}")))?;
                KeySource::Fixed(keys)
            }
            (_, "", Some(_)) => {
                return Err(in_pem("and JWT_JWKS_URL are both set; one of them is enough".into()));
            }
            (_, _, other) => {
                let other = if other.is_some() { "JWT_JWKS_URL" } else { pem_variable };
                return Err(in_file(format!("and {other} are both set; one of them is enough")));
            }
        };
        Ok(Some(Self {
            keys,
            issuer: env.parse("JWT_ISSUER", "tandem", "tandem")?,
            audience: env.parse("JWT_AUDIENCE", "tandem", "tandem")?,
        }))
    }
}

/// The text of `JWT_JWKS_URL`, which may be empty.
struct JwksUrlText(Option<Url>);

#[derive(Debug, thiserror::Error)]
#[error("must be an http or https URL without a password")]
struct NoUrl;

impl FromStr for JwksUrlText {
    type Err = NoUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url = Url::parse(text).map_err(|_| NoUrl)?;
        // The URL is logged.
        let is_usable = matches!(url.scheme(), "http" | "https") && url.password().is_none();
        if is_usable { Ok(Self(Some(url))) } else { Err(NoUrl) }
    }
}
