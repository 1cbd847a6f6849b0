//! The trusted issuer of tokens, from the environment.

use secrecy::ExposeSecret as _;

use super::PublicKey;
use crate::env::{ConfigError, Env};

/// The trusted issuer of tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The issuer's keys.
    pub keys: Vec<PublicKey>,
    /// The required claim `iss`.
    pub issuer: String,
    /// The required claim `aud`.
    pub audience: String,
}

impl TokenSettings {
    /// The variables that [`from_env`](Self::from_env) reads.
    pub const VARIABLES: [&str; 4] =
        ["JWT_PUBLIC_KEY", "JWT_JWKS_FILE", "JWT_ISSUER", "JWT_AUDIENCE"];

    /// Reads `JWT_PUBLIC_KEY` or `JWT_JWKS_FILE`, and `JWT_ISSUER` and `JWT_AUDIENCE`, by default
    /// `tandem`. `None` without a key.
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
        let in_pem =
            |fault: String| ConfigError { variable: pem_variable, fault, example: pem_example };
        let in_file =
            |fault: String| ConfigError { variable: file_variable, fault, example: file_example };
        let keys = match (pem.expose_secret(), file.as_str()) {
            ("", "") => return Ok(None),
            (pem, "") => vec![PublicKey::from_pem(pem).map_err(|error| in_pem(error.to_string()))?],
            ("", file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| {
                    in_file(format!("is '{file}', which cannot be read: {error}"))
                })?;
                PublicKey::from_jwks(&text)
                    .map_err(|error| in_file(format!("is '{file}', which {error}")))?
            }
            _ => {
                return Err(in_file(format!(
                    "and {pem_variable} are both set; one of them is enough"
                )));
            }
        };
        Ok(Some(Self {
            keys,
            issuer: env.parse("JWT_ISSUER", "tandem", "tandem")?,
            audience: env.parse("JWT_AUDIENCE", "tandem", "tandem")?,
        }))
    }
}
