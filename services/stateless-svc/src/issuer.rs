//! Issues access tokens, and verifies them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::web::Bytes;
use arc_swap::ArcSwapOption;
use proto_contracts::Role;
use proto_contracts::accounts::ACCESS_TOKEN_S;
use proto_contracts::security_event::{Events, SecurityEvent, TokensRevoked};
use serde::Serialize;
use serde_json::json;
use service_kit::config::DEVELOPMENT_SECRET;
use service_kit::telemetry::chain;
use service_kit::tokens::{
    InvalidToken, KeySource, SigningKey, TokenSettings, TokenVerifier, UnusableSigningKey,
};
use uuid::Uuid;

use crate::domain::account::{Account, Username};
use crate::domain::revocation::Revocation;

/// How often the folder is read again.
const REREAD: Duration = Duration::from_secs(5);
/// A new key is published for so long before it signs, so that every verifier knows it.
const PUBLISHED_FIRST: Duration = Duration::from_secs(60);

/// The user of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The username.
    pub user: Username,
    /// What the user may do, as of the token's issue.
    pub role: Role,
}

/// Issues and verifies tokens by the keys of a folder. Cheap to clone.
#[derive(Clone)]
pub struct Issuer(Arc<Shared>);

struct Shared {
    settings: IssuerSettings,
    /// `None` while the folder has no usable key.
    keys: ArcSwapOption<Keys>,
}

/// The folder of the keys, and the claims that every token has.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// One PEM file for each key: its name without the extension is the key's id. The last of the
    /// names signs. `None` issues no tokens.
    pub keys: Option<PathBuf>,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// Whether keys for development are rejected.
    pub is_production: bool,
}

struct Keys {
    /// In the order of their names.
    files: Vec<KeyFile>,
    signing: usize,
    verifier: TokenVerifier<Option<Identity>>,
    jwks: Bytes,
}

struct KeyFile {
    key: SigningKey,
    pem: Vec<u8>,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The folder or a file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The folder or the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no key.
    #[error("{} {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: UnusableSigningKey,
    },
    /// A key of the repository, which everyone knows.
    #[error("{} is the known key for development, and TANDEM_MODE is production", .0.display())]
    ForDevelopment(PathBuf),
    /// The folder has no key.
    #[error("{} has no file *.pem", .0.display())]
    Empty(PathBuf),
}

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no key.
    #[error("this installation has no key to sign tokens with")]
    NoKey,
    /// The claims cannot be serialized.
    #[error("cannot serialize the claims")]
    Claims(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct IssuedClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    role: Role,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

impl Issuer {
    /// Reads the keys.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn new(settings: IssuerSettings) -> Result<Self, KeysError> {
        let keys = match &settings.keys {
            Some(folder) => Some(Arc::new(Keys::read(folder, &settings)?)),
            None => None,
        };
        Ok(Self(Arc::new(Shared { settings, keys: ArcSwapOption::new(keys) })))
    }

    /// Reads the keys again and again, so that they rotate without a restart. The last usable set
    /// is kept.
    pub async fn follow_keys(self) {
        let Some(folder) = self.0.settings.keys.clone() else { return };
        let mut failing = false;
        loop {
            tokio::time::sleep(REREAD).await;
            match Keys::read(&folder, &self.0.settings) {
                Ok(keys) => {
                    failing = false;
                    self.replace(keys);
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(cause = chain(&error), "keeping the keys of tokens");
                }
                Err(_logged) => {}
            }
        }
    }

    fn replace(&self, keys: Keys) {
        let current = self.0.keys.load();
        if current.as_ref().is_some_and(|current| current.is_same(&keys)) {
            return; // Keeps the cache of verified tokens.
        }
        tracing::info!(signing = keys.signing().id(), "the keys of tokens changed");
        self.0.keys.store(Some(Arc::new(keys)));
    }

    /// An access token for this user. `issued_at` is by the database's clock, and not before the
    /// user's last revocation.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue(
        &self,
        account: &Account,
        issued_at: jiff::Timestamp,
    ) -> Result<String, IssueError> {
        let keys = self.0.keys.load();
        let keys = keys.as_ref().ok_or(IssueError::NoKey)?;
        let now = jiff::Timestamp::now().as_second();
        let claims = IssuedClaims {
            iss: &self.0.settings.issuer,
            aud: &self.0.settings.audience,
            sub: account.id.as_str(),
            role: account.role,
            iat: issued_at.as_second(),
            exp: now + ACCESS_TOKEN_S as i64,
            jti: Uuid::now_v7(),
        };
        Ok(keys.signing().sign(&claims)?)
    }

    /// The signed event of a revocation.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn sign_event(&self, revocation: &Revocation) -> Result<String, IssueError> {
        let keys = self.0.keys.load();
        let keys = keys.as_ref().ok_or(IssueError::NoKey)?;
        let not_before = revocation.not_before.as_second();
        let event = SecurityEvent {
            iss: self.0.settings.issuer.clone(),
            aud: self.0.settings.audience.clone(),
            iat: jiff::Timestamp::now().as_second(),
            jti: revocation.id.to_string(),
            sub: revocation.user.to_string(),
            events: Events { tokens_revoked: TokensRevoked { not_before } },
        };
        Ok(keys.signing().sign_event(&event)?)
    }

    /// The user of a token.
    ///
    /// # Errors
    /// When it is not a valid token of this issuer.
    pub fn verify(&self, token: &[u8]) -> Result<Identity, InvalidToken> {
        let keys = self.0.keys.load();
        let keys = keys.as_ref().ok_or(InvalidToken::Untrusted)?;
        keys.verifier.verify(token)?.ok_or(InvalidToken::Malformed)
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn jwks(&self) -> Bytes {
        let keys = self.0.keys.load();
        keys.as_ref().map_or_else(|| Bytes::from_static(b"{\"keys\":[]}"), |keys| keys.jwks.clone())
    }
}

impl Keys {
    fn read(folder: &Path, settings: &IssuerSettings) -> Result<Self, KeysError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| KeysError::Unreadable { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut files = Vec::new();
        let mut signing = 0;
        for path in &paths {
            let pem = std::fs::read(path).map_err(unreadable(path))?;
            if settings.is_production && is_for_development(&pem) {
                return Err(KeysError::ForDevelopment(path.clone()));
            }
            let id = path.file_stem().unwrap_or_default().to_string_lossy();
            let key = SigningKey::from_pem(id, &pem)
                .map_err(|source| KeysError::Unusable { path: path.clone(), source })?;
            if age(path).is_none_or(|age| age >= PUBLISHED_FIRST) {
                signing = files.len();
            }
            files.push(KeyFile { key, pem });
        }
        if files.is_empty() {
            return Err(KeysError::Empty(folder.to_owned()));
        }
        let verifier = TokenVerifier::new(
            TokenSettings {
                keys: KeySource::Fixed(files.iter().map(|file| file.key.public_key()).collect()),
                issuer: settings.issuer.clone(),
                audience: settings.audience.clone(),
            },
            |claims| {
                let role = claims.role.as_deref()?.parse().ok()?;
                Some(Identity { user: claims.sub.parse().ok()?, role })
            },
        );
        let jwks: Vec<_> = files.iter().map(|file| file.key.jwk()).collect();
        let jwks = Bytes::from(json!({"keys": jwks}).to_string());
        Ok(Self { files, signing, verifier, jwks })
    }

    fn signing(&self) -> &SigningKey {
        &self.files[self.signing].key
    }

    fn is_same(&self, other: &Self) -> bool {
        let pems = |keys: &Self| keys.files.iter().map(|file| file.pem.clone()).collect::<Vec<_>>();
        self.signing == other.signing && pems(self) == pems(other)
    }
}

/// The text before a PEM document says so.
fn is_for_development(pem: &[u8]) -> bool {
    let sign = DEVELOPMENT_SECRET.as_bytes();
    pem.windows(sign.len()).any(|window| window == sign)
}

/// The time since the file was written; `None` when it is unknown or in the future.
fn age(path: &Path) -> Option<Duration> {
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    SystemTime::now().duration_since(written).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the Compose files.
    fn settings(is_production: bool) -> IssuerSettings {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        IssuerSettings {
            keys: Some(root.join("infra/compose/secrets/development/token-keys")),
            issuer: "tandem".to_owned(),
            audience: "tandem".to_owned(),
            is_production,
        }
    }

    #[test]
    fn production_rejects_the_key_of_the_repository() {
        assert!(Issuer::new(settings(false)).is_ok());
        let error = Issuer::new(settings(true)).err().expect("rejected");
        assert!(matches!(error, KeysError::ForDevelopment(_)), "{error}");
    }
}
