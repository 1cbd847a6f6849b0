//! The service's settings, from the environment.

use std::str::FromStr;

use service_kit::config::{ConfigError, Env, ServiceConfig};
use service_kit::redis::RedisTarget;

use crate::domain::lifetime::Lifetime;

/// A week, in seconds: no session needs longer.
const MAX_LIFETIME_S: u64 = 7 * 24 * 60 * 60;

/// Everything that the service can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service can be told.
    pub service: ServiceConfig,
    /// `SESSION_STORE`: where sessions are kept; `redis` by default.
    pub store: StoreConfig,
    /// `SESSION_IDLE_S` and `SESSION_ABSOLUTE_S`: how long sessions live; 30 minutes and 24 hours by default (OWASP's
    /// advice for applications of low value).
    pub lifetime: Lifetime,
}

/// Where sessions are kept, with what that needs.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In the instance's memory.
    Memory,
    /// In the Redis at `SESSION_REDIS_URL`; `redis://127.0.0.1:8379` by default.
    Redis(RedisTarget),
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let redis =
            || env.secret("SESSION_REDIS_URL", "redis://127.0.0.1:8379", "redis://127.0.0.1:8379", RedisTarget::parse);
        Ok(Self {
            service: ServiceConfig::from_env(env, "127.0.0.1:8201", "stateful-1")?,
            store: match env.parse("SESSION_STORE", "redis", "redis")? {
                StoreName::Memory => StoreConfig::Memory,
                StoreName::Redis => StoreConfig::Redis(redis()?),
            },
            lifetime: Lifetime {
                idle: env.seconds("SESSION_IDLE_S", "1800", 1..=MAX_LIFETIME_S)?,
                absolute: env.seconds("SESSION_ABSOLUTE_S", "86400", 1..=MAX_LIFETIME_S)?,
            },
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum StoreName {
    Memory,
    Redis,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there is no such store; the stores are 'memory' and 'redis'")]
struct UnknownStore;

impl FromStr for StoreName {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text {
            "memory" => Ok(Self::Memory),
            "redis" => Ok(Self::Redis),
            _ => Err(UnknownStore),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(&Env::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn every_setting_has_a_default() {
        let config = read(&[]).expect("defaults");
        assert_eq!(config.service.listen.to_string(), "127.0.0.1:8201");
        assert_eq!(config.service.instance.as_str(), "stateful-1");
        assert!(matches!(config.store, StoreConfig::Redis(_)));
        assert_eq!(config.lifetime.idle, Duration::from_secs(1800));
        assert_eq!(config.lifetime.absolute, Duration::from_secs(86400));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_fault_and_an_example() {
        for (variable, value, told) in [
            ("SESSION_STORE", "postgres", "'memory' and 'redis'"),
            ("SESSION_STORE", "Memory", "'memory' and 'redis'"),
            ("SESSION_IDLE_S", "0", "not within 1 to"),
            ("SESSION_IDLE_S", "30m", "invalid digit"),
            ("SESSION_ABSOLUTE_S", "99999999", "not within 1 to"),
        ] {
            let error = read(&[(variable, value)]).expect_err(value);
            assert_eq!(error.variable, variable);
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn the_url_of_redis_is_a_secret() {
        let error = read(&[("SESSION_REDIS_URL", "http://:hunter2@nowhere")]).expect_err("no Redis URL");
        assert!(error.to_string().starts_with("SESSION_REDIS_URL") && !error.to_string().contains("hunter2"));
        let memory = read(&[("SESSION_STORE", "memory"), ("SESSION_REDIS_URL", "nonsense")]);
        assert!(memory.is_ok(), "a store that needs no Redis does not read its URL");
    }
}
