//! The service's settings, read from the environment.

use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use service_kit::config::{ConfigError, Env, ServiceConfig};
use service_kit::redis::{Acks, RedisTarget};
use service_kit::tls::Trust;
use service_kit::tokens::TokenSettings;

use crate::domain::lifetime::Lifetime;
use crate::domain::origins::AllowedOrigins;

/// The service's name, in health responses and on the command line.
pub const SERVICE: &str = "stateful-svc";

/// A week, in seconds: no session needs longer.
const MAX_LIFETIME_S: u64 = 7 * 24 * 60 * 60;
/// A smaller set might not hold a single session.
const MIN_HOT_SET_BYTES: u64 = 1 << 20;
/// More than any machine's memory.
const MAX_HOT_SET_BYTES: u64 = 1 << 50;
/// More than an instance has file descriptors for.
const MAX_LIVE_CONNECTIONS: usize = 1_000_000;
const MAX_ACK_REPLICAS: u64 = 16;
/// Half of Redis's response timeout, which includes this wait.
const ACK_TIMEOUT: Duration = Duration::from_millis(500);

/// The settings of one instance.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// `SESSION_STORE`: `hybrid` by default.
    pub store: StoreConfig,
    /// `REDIS_ACK_REPLICAS`: how many replicas must acknowledge a write; 0 by default, which costs
    /// nothing. A write that they do not acknowledge within half a second gets 503.
    pub acks: Option<Acks>,
    /// `SESSION_IDLE_S` and `SESSION_ABSOLUTE_S`: the lifetime of sessions; 30 minutes and 24 hours
    /// by default (OWASP's advice for applications of low value).
    pub lifetime: Lifetime,
    /// The limits of live connections.
    pub live: LiveConfig,
    /// `SESSION_ID_SECRET`: signs tickets, and derives the ids that creates with an idempotency key
    /// propose. At least 32 bytes, the same for all instances. Without it, each process generates
    /// its own.
    pub secret: Option<SecretString>,
    /// `CLASSROOM`: whether the instance keeps a roster of the sessions with a nickname; off by
    /// default.
    pub classroom: Classroom,
    /// `JWT_PUBLIC_KEY` or `JWT_JWKS_FILE`: the keys of bearer tokens, without which tokens are
    /// rejected. `JWT_ISSUER` and `JWT_AUDIENCE`: their required claims, `tandem` by default.
    pub tokens: Option<TokenSettings>,
}

/// Whether the instance keeps a roster for a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classroom {
    /// No.
    Closed,
    /// Yes: see [`roster`](crate::domain::roster).
    Open,
}

impl FromStr for Classroom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "0" => Ok(Self::Closed),
            "1" => Ok(Self::Open),
            _ => Err("write 0 or 1"),
        }
    }
}

/// Limits of live connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// `LIVE_MAX_CONNECTIONS`: the most connections open at a time; 5,000 by default.
    pub max_connections: usize,
    /// `LIVE_HEARTBEAT_S`: the interval of heartbeats; 15 s by default, below the idle timeout of
    /// proxies.
    pub heartbeat: Duration,
    /// `LIVE_SEND_TIMEOUT_S`: how long sending an event may take; 10 s by default.
    pub send_timeout: Duration,
    /// `LIVE_TICKET_S`: how long a ticket opens a first connection, and reopens one after its end;
    /// 60 s by default.
    pub ticket_validity: Duration,
    /// `LIVE_ALLOWED_ORIGINS`: other origins whose pages may open a WebSocket; none by default.
    pub allowed_origins: AllowedOrigins,
}

impl LiveConfig {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            max_connections: env.parse_within(
                "LIVE_MAX_CONNECTIONS",
                "5000",
                1..=MAX_LIVE_CONNECTIONS,
                "5000",
            )?,
            heartbeat: env.seconds("LIVE_HEARTBEAT_S", "15", 1..=300)?,
            send_timeout: env.seconds("LIVE_SEND_TIMEOUT_S", "10", 1..=300)?,
            ticket_validity: env.seconds("LIVE_TICKET_S", "60", 1..=3600)?,
            allowed_origins: env.parse(
                "LIVE_ALLOWED_ORIGINS",
                "",
                "https://app.example,https://www.example:8443",
            )?,
        })
    }
}

/// The kind of session store, with its settings.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In the instance's memory.
    Memory,
    /// In the Redis at `SESSION_REDIS_URL`; `redis://127.0.0.1:8379` by default.
    Redis(RedisTarget),
    /// In Redis, with hot copies in the instance's memory.
    Hybrid {
        /// `SESSION_REDIS_URL`, as above.
        redis: RedisTarget,
        /// `HOT_SET_BYTES`: the approximate limit of the copies; 64 MiB by default, some 65,000
        /// sessions with little client data.
        hot_set_bytes: u64,
    },
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let redis = || redis_target(env);
        let hot_set_bytes = || {
            env.parse_within(
                "HOT_SET_BYTES",
                "67108864",
                MIN_HOT_SET_BYTES..=MAX_HOT_SET_BYTES,
                "67108864",
            )
        };
        Ok(Self {
            service: ServiceConfig::from_env(env, SERVICE, "127.0.0.1:8201", "stateful-1")?,
            store: match env.parse("SESSION_STORE", "hybrid", "hybrid")? {
                StoreName::Memory => StoreConfig::Memory,
                StoreName::Redis => StoreConfig::Redis(redis()?),
                StoreName::Hybrid => {
                    StoreConfig::Hybrid { redis: redis()?, hot_set_bytes: hot_set_bytes()? }
                }
            },
            acks: acks(env)?,
            lifetime: Lifetime {
                idle: env.seconds("SESSION_IDLE_S", "1800", 1..=MAX_LIFETIME_S)?,
                absolute: env.seconds("SESSION_ABSOLUTE_S", "86400", 1..=MAX_LIFETIME_S)?,
            },
            live: LiveConfig::from_env(env)?,
            classroom: env.parse("CLASSROOM", "0", "1")?,
            secret: env.long_secret("SESSION_ID_SECRET")?,
            tokens: TokenSettings::from_env(env)?,
        })
    }
}

fn redis_target(env: &Env) -> Result<RedisTarget, ConfigError> {
    let (trust, default) = (Trust::from_env(env)?, "redis://127.0.0.1:8379");
    env.secret_url("SESSION_REDIS_URL", default, default, |url| RedisTarget::parse(url, &trust))
}

fn acks(env: &Env) -> Result<Option<Acks>, ConfigError> {
    let replicas = env.parse_within("REDIS_ACK_REPLICAS", "0", 0..=MAX_ACK_REPLICAS, "1")?;
    let replicas = u16::try_from(replicas).unwrap_or_default();
    Ok((replicas > 0).then_some(Acks { replicas, timeout: ACK_TIMEOUT }))
}

#[derive(Clone, Copy, Debug)]
enum StoreName {
    Memory,
    Redis,
    Hybrid,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("unknown store; must be 'memory', 'redis' or 'hybrid'")]
struct UnknownStore;

impl FromStr for StoreName {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text {
            "memory" => Ok(Self::Memory),
            "redis" => Ok(Self::Redis),
            "hybrid" => Ok(Self::Hybrid),
            _ => Err(UnknownStore),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(&Env::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn every_setting_has_a_default() {
        let config = read(&[]).expect("defaults");
        assert_eq!(config.service.listen.to_string(), "127.0.0.1:8201");
        assert_eq!(config.service.instance.as_str(), "stateful-1");
        assert!(matches!(config.store, StoreConfig::Hybrid { hot_set_bytes: 67_108_864, .. }));
        assert_eq!(config.acks, None);
        assert_eq!(config.lifetime.idle, Duration::from_secs(1800));
        assert_eq!(config.lifetime.absolute, Duration::from_secs(86400));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_fault_and_an_example() {
        for (variable, value, text) in [
            ("SESSION_STORE", "postgres", "'memory', 'redis' or 'hybrid'"),
            ("SESSION_STORE", "Memory", "'memory', 'redis' or 'hybrid'"),
            ("HOT_SET_BYTES", "1000", "not within 1048576 to"),
            ("HOT_SET_BYTES", "64MiB", "invalid digit"),
            ("LIVE_MAX_CONNECTIONS", "0", "not within 1 to"),
            ("LIVE_HEARTBEAT_S", "0", "not within 1 to"),
            ("LIVE_SEND_TIMEOUT_S", "1h", "invalid digit"),
            ("LIVE_TICKET_S", "0", "not within 1 to"),
            ("LIVE_ALLOWED_ORIGINS", "app.example", "is not an origin"),
            ("LIVE_ALLOWED_ORIGINS", "https://app.example/", "is not an origin"),
            ("REDIS_ACK_REPLICAS", "17", "not within 0 to"),
            ("SESSION_IDLE_S", "0", "not within 1 to"),
            ("SESSION_IDLE_S", "30m", "invalid digit"),
            ("SESSION_ABSOLUTE_S", "99999999", "not within 1 to"),
        ] {
            let error = read(&[(variable, value)]).expect_err(value);
            assert_eq!(error.variable, variable);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_short_secret_is_rejected_and_not_quoted() {
        assert!(read(&[]).expect("defaults").secret.is_none());
        assert!(
            read(&[("SESSION_ID_SECRET", &"x".repeat(32))]).expect("long enough").secret.is_some()
        );
        let text = read(&[("SESSION_ID_SECRET", "hunter2")]).expect_err("too short").to_string();
        assert!(
            text.contains("SESSION_ID_SECRET has 7 bytes, fewer than 32")
                && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn the_url_of_redis_is_a_secret() {
        let error =
            read(&[("SESSION_REDIS_URL", "http://:hunter2@host")]).expect_err("not a Redis URL");
        assert!(
            error.to_string().starts_with("SESSION_REDIS_URL")
                && !error.to_string().contains("hunter2")
        );
        let text = read(&[("SESSION_REDIS_URL", "redis+sentinel://:hunter2@a:1")])
            .expect_err("no name")
            .to_string();
        assert!(text.contains("does not name the master") && !text.contains("hunter2"), "{text}");
        let memory = read(&[("SESSION_STORE", "memory"), ("SESSION_REDIS_URL", "nonsense")]);
        assert!(memory.is_ok(), "a store that needs no Redis does not read its URL");
    }
}
