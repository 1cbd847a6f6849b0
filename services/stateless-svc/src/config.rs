//! The service's settings, read from the environment.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;
use service_kit::config::{ConfigError, Env, ServiceConfig};
use service_kit::postgres::PostgresTarget;
use service_kit::redis::RedisTarget;

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
    /// `CACHE_REDIS_URL`: the cache, never the Redis that holds sessions. The stack's own by
    /// default.
    pub cache: RedisTarget,
    /// `AUTH_KEYS_DIR`, `JWT_ISSUER` and `JWT_AUDIENCE`: the tokens that this service issues.
    pub issuer: IssuerSettings,
    /// `GATEWAY_URL`: revocations are sent to the stateful service through it. The local stack's by
    /// default.
    pub gateway: Url,
    /// `AUTH_PASSWORD_THREADS`: passwords that are hashed at a time, each with 19 MiB; 2 by
    /// default.
    pub password_threads: NonZeroUsize,
    /// `AUDIT_RETENTION_MONTHS`: how long the audit log is kept, besides the present month; 12 by
    /// default.
    pub audit_retention_months: NonZeroU16,
    /// `IDEMPOTENCY_SECRET`: the key of the fingerprints of requests with an idempotency key. At
    /// least 32 bytes, the same for all instances.
    pub idempotency_secret: Option<SecretString>,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            service: ServiceConfig::from_env(env, SERVICE, "127.0.0.1:8101", "stateless-1")?,
            database: env.secret(
                "DATABASE_URL",
                "postgresql://tandem:tandem@127.0.0.1:8432/tandem",
                "postgresql://user:password@127.0.0.1:8432/tandem",
                PostgresTarget::parse,
            )?,
            cache: env.secret(
                "CACHE_REDIS_URL",
                "redis://127.0.0.1:8380",
                "redis://user:password@127.0.0.1:8380",
                RedisTarget::parse,
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_urls_do_not_quote_them() {
        for variable in ["DATABASE_URL", "CACHE_REDIS_URL"] {
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
