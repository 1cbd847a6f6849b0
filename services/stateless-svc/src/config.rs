//! The service's settings, read from the environment.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use proto_contracts::files::DEFAULT_MAX_FILE_BYTES;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::config::{ConfigError, Env, ServiceConfig};
use service_kit::postgres::PostgresTarget;
use service_kit::redis::RedisTarget;
use service_kit::tls::Trust;

use crate::blob_target::{BlobTarget, S3Settings};
use crate::domain::file::FileLimits;
use crate::issuer::IssuerSettings;

/// The service's name, in health responses, in `info` and on the command line.
pub const SERVICE: &str = "stateless-svc";

/// The settings of one instance.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address, name, workers, log and shutdown.
    pub service: ServiceConfig,
    /// `DATABASE_URL`: the catalogue. The stack's own PostgreSQL by default.
    pub database: PostgresTarget,
    /// `DATABASE_REPLICA_*`: a standby for lists that tolerate lag; none by default.
    pub replica: Option<ReplicaConfig>,
    /// `CACHE_REDIS_URL`: the cache, never the Redis that holds sessions. The stack's own by
    /// default.
    pub cache: RedisTarget,
    /// `AUTH_KEYS_DIR`, `JWT_ISSUER` and `JWT_AUDIENCE`: the tokens that this service issues.
    pub issuer: IssuerSettings,
    /// `GATEWAY_URL`: revocations are sent to the stateful service through it. The local stack's by
    /// default.
    pub gateway: Url,
    /// `TLS_CA_FILE`: the authorities of servers that are reached by TLS. The system's by default.
    pub trust: Trust,
    /// `AUTH_PASSWORD_THREADS`: passwords that are hashed at a time, each with 19 MiB; 2 by
    /// default.
    pub password_threads: NonZeroUsize,
    /// `AUDIT_RETENTION_MONTHS`: how long the audit log is kept, besides the present month; 12 by
    /// default.
    pub audit_retention_months: NonZeroU16,
    /// `IDEMPOTENCY_SECRET`: the key of the fingerprints of requests with an idempotency key. At
    /// least 32 bytes, the same for all instances.
    pub idempotency_secret: Option<SecretString>,
    /// `FILES_*`: where files are stored, and how many.
    pub files: FilesConfig,
}

/// The settings of the replica.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// `DATABASE_REPLICA_URL`: one streaming standby of the primary, directly or by a pooler.
    pub target: PostgresTarget,
    /// `DATABASE_REPLICA_MAX_LAG_S`: what is older is not read, 5 s by default. The same for all
    /// instances.
    pub max_lag: Duration,
}

impl ReplicaConfig {
    fn from_env(env: &Env, trust: &Trust) -> Result<Option<Self>, ConfigError> {
        let max_lag = env.seconds("DATABASE_REPLICA_MAX_LAG_S", "5", 1..=60)?;
        let target = env.secret_url(
            "DATABASE_REPLICA_URL",
            "",
            "postgresql://user:password@127.0.0.1:8433/tandem",
            |url| match url.expose_secret() {
                "" => Ok(None),
                _ => PostgresTarget::parse(url, trust).map(Some),
            },
        )?;
        Ok(target.map(|target| Self { target, max_lag }))
    }
}

/// The settings of files.
#[derive(Clone, Debug)]
pub struct FilesConfig {
    /// `FILES_URL`: a folder that all instances share, or a bucket of S3. A folder of this machine
    /// by default.
    pub target: BlobTarget,
    /// `FILES_S3_*`: how S3 is reached.
    pub s3: S3Settings,
    /// `FILES_MAX_BYTES` and `FILES_QUOTA_BYTES`: of one file, 50 MiB by default, and of all files
    /// of a user, 1 GiB.
    pub limits: FileLimits,
    /// `FILES_LEASE_S`: how long an upload whose instance has died is kept; 60 s by default.
    pub lease: Duration,
}

impl FilesConfig {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let folder = "file:///var/tmp/tandem-files";
        let file = DEFAULT_MAX_FILE_BYTES.to_string();
        let endpoint = env.parse::<String>("FILES_S3_ENDPOINT", "", "http://127.0.0.1:9000")?;
        let endpoint = match endpoint.as_str() {
            "" => None,
            _ => Some(env.parse("FILES_S3_ENDPOINT", "", "http://127.0.0.1:9000")?),
        };
        let not_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            target: env.parse("FILES_URL", folder, "s3://bucket/prefix")?,
            s3: S3Settings {
                endpoint,
                region: env.parse("FILES_S3_REGION", "us-east-1", "eu-central-1")?,
                access_key: not_empty(env.parse(
                    "FILES_S3_ACCESS_KEY",
                    "",
                    "AKIAIOSFODNN7EXAMPLE",
                )?),
                secret_key: env.secret(
                    "FILES_S3_SECRET_KEY",
                    "",
                    "<the secret key>",
                    |secret| {
                        let is_set = !secret.expose_secret().is_empty();
                        Ok::<_, ()>(is_set.then(|| secret.clone()))
                    },
                )?,
            },
            limits: FileLimits {
                file: env.parse_within(
                    "FILES_MAX_BYTES",
                    &file,
                    1..=MOST_FILE_BYTES,
                    "52428800",
                )?,
                quota: env.parse_within(
                    "FILES_QUOTA_BYTES",
                    "1073741824",
                    0..=MOST_QUOTA_BYTES,
                    "1073741824",
                )?,
            },
            lease: env.seconds("FILES_LEASE_S", "60", 1..=3600)?,
        })
    }
}

/// What 10,000 parts of S3 have.
const MOST_FILE_BYTES: u64 = 10_000 * 5 * 1024 * 1024;
/// A plausibility limit: a petabyte.
const MOST_QUOTA_BYTES: u64 = 1 << 50;

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let trust = &Trust::from_env(env)?;
        Ok(Self {
            trust: trust.clone(),
            service: ServiceConfig::from_env(env, SERVICE, "127.0.0.1:8101", "stateless-1")?,
            database: env.secret_url(
                "DATABASE_URL",
                "postgresql://tandem:tandem@127.0.0.1:8432/tandem",
                "postgresql://user:password@127.0.0.1:8432/tandem",
                |url| PostgresTarget::parse(url, trust),
            )?,
            replica: ReplicaConfig::from_env(env, trust)?,
            cache: env.secret_url(
                "CACHE_REDIS_URL",
                "redis://127.0.0.1:8380",
                "redis://user:password@127.0.0.1:8380",
                |url| RedisTarget::parse(url, trust),
            )?,
            issuer: IssuerSettings {
                keys: Some(env.parse::<PathBuf>("AUTH_KEYS_DIR", "", "/etc/tandem/keys")?)
                    .filter(|folder| !folder.as_os_str().is_empty()),
                issuer: env.parse("JWT_ISSUER", "tandem", "tandem")?,
                audience: env.parse("JWT_AUDIENCE", "tandem", "tandem")?,
                is_production: env.is_production(),
            },
            gateway: env.parse("GATEWAY_URL", "http://127.0.0.1:8000", "http://gateway:8000")?,
            password_threads: env.parse("AUTH_PASSWORD_THREADS", "2", "2")?,
            audit_retention_months: env.parse("AUDIT_RETENTION_MONTHS", "12", "12")?,
            idempotency_secret: env.long_secret("IDEMPOTENCY_SECRET")?,
            files: FilesConfig::from_env(env)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_urls_do_not_quote_them() {
        for variable in ["DATABASE_URL", "DATABASE_REPLICA_URL", "CACHE_REDIS_URL"] {
            let error = Config::from_env(&Env::from_pairs([(variable, "http://hunter2")]))
                .expect_err("invalid");
            let text = error.to_string();
            assert!(
                text.starts_with(variable)
                    && text.contains("for example")
                    && !text.contains("hunter2"),
                "{text}"
            );
        }
        assert!(Config::from_env(&Env::from_pairs([])).is_ok());
    }
}
