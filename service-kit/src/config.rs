//! The configuration of a service: read once from the environment into validated types.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use proto_contracts::{DeploymentName, InstanceName, Weight};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::level_filters::LevelFilter;

use crate::telemetry::TraceConfig;
use crate::tls::ServerCertificate;

pub use crate::env::{ConfigError, DEVELOPMENT_SECRET, EX_USAGE, Env, SECRETS};

/// The settings that all services have.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `LISTEN_ADDR`: the listener's address. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `INSTANCE_ID`: the stable name of this instance.
    pub instance: InstanceName,
    /// `WORKERS`: threads that serve requests; by default the number of cores.
    pub workers: NonZeroUsize,
    /// `LOG_LEVEL`: a filter of `tracing-subscriber`, such as `info` or `info,access=off`.
    pub log_filter: String,
    /// `SHUTDOWN_TIMEOUT_S`: how long requests in flight may take to finish during shutdown; 30 s
    /// by default.
    pub shutdown_timeout: Duration,
    /// `OTEL_*`: traces; off by default.
    pub traces: Option<TraceConfig>,
    /// `SHUTDOWN_ANNOUNCE_S`: the pre-stop delay. After SIGTERM the instance announces the stop in
    /// its health responses and serves on, before it closes its listener. By default 12 s: two
    /// health checks of a gateway, 5 s apart, and a margin.
    pub announce: Duration,
    /// `INSTANCE_TOKEN`: the bearer token for `/internal` requests of gateways; without it they
    /// cannot drain the instance.
    pub instance_token: Option<SecretString>,
    /// `DEPLOYMENT`: the deployment's name; gateways of another deployment reject the instance.
    pub deployment: Option<DeploymentName>,
    /// `TLS_CERT_FILE` and `TLS_KEY_FILE`: the listener's certificate; without them it has no TLS.
    pub tls: Option<ServerCertificate>,
    /// `INSTANCE_WEIGHT`: its weight, unless a gateway's configuration or an operator sets another.
    pub weight: Weight,
}

/// The shortest instance token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_LEN: usize = 16;

impl ServiceConfig {
    /// Reads the settings. Each service has its own name and defaults for address and instance.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(
        env: &Env,
        service: &str,
        default_listen: &str,
        default_instance: &str,
    ) -> Result<Self, ConfigError> {
        let instance = env.parse("INSTANCE_ID", default_instance, "stateless-1")?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).to_string();
        let LogFilter(log_filter) = env.parse("LOG_LEVEL", "info", "info,access=off")?;
        Ok(Self {
            listen: env.parse("LISTEN_ADDR", default_listen, "127.0.0.1:8101")?,
            workers: env.parse_within("WORKERS", &cores, NonZeroUsize::MIN..=MAX_WORKERS, "2")?,
            log_filter,
            shutdown_timeout: env.seconds("SHUTDOWN_TIMEOUT_S", "30", 1..=3600)?,
            announce: env.seconds("SHUTDOWN_ANNOUNCE_S", "12", 0..=300)?,
            instance_token: env.secret(
                "INSTANCE_TOKEN",
                "",
                "<the output of: openssl rand -hex 24>",
                instance_token,
            )?,
            traces: TraceConfig::from_env(env, service, &instance)?,
            deployment: match env.variable("DEPLOYMENT") {
                Some(_) => Some(env.parse("DEPLOYMENT", "", "shop-production")?),
                None => None,
            },
            tls: ServerCertificate::from_env(env)?,
            weight: env.parse("INSTANCE_WEIGHT", "1", "2")?,
            instance,
        })
    }
}

/// `None` when it is empty; an error when it is too short for a secret.
fn instance_token(text: &SecretString) -> Result<Option<SecretString>, ()> {
    match text.expose_secret().len() {
        0 => Ok(None),
        length if length >= MIN_TOKEN_LEN => Ok(Some(text.clone())),
        _ => Err(()),
    }
}

/// A valid log filter.
struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::from_str(text).map_err(|error| error.to_string())?;
        // The syntax takes a lone word for a target: a misspelt level would silence the log.
        match text
            .split(',')
            .find(|part| !part.contains(['=', '[']) && LevelFilter::from_str(part.trim()).is_err())
        {
            Some(part) => Err(format!(
                "'{part}' is not a level; the levels are off, error, warn, info, debug and trace"
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// A plausibility limit.
const MAX_WORKERS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ServiceConfig, ConfigError> {
        ServiceConfig::from_env(
            &Env::from_pairs(pairs.iter().copied()),
            "stateless-svc",
            "127.0.0.1:8101",
            "stateless-1",
        )
    }

    #[test]
    fn every_setting_has_a_default() {
        let config = read(&[]).expect("defaults");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8101");
        assert_eq!(config.instance.as_str(), "stateless-1");
        assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
        assert!(config.instance_token.is_none());
        assert_eq!(read(&[("WORKERS", "")]).expect("empty is unset").workers, config.workers);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_fault_and_an_example() {
        for (variable, value) in [
            ("LISTEN_ADDR", "localhost"),
            ("INSTANCE_ID", "a b"),
            ("WORKERS", "0"),
            ("WORKERS", "1025"),
            ("WORKERS", "-1"),
            ("LOG_LEVEL", "access=loudly"),
            ("LOG_LEVEL", "inof"),
            ("SHUTDOWN_TIMEOUT_S", "0"),
            ("SHUTDOWN_TIMEOUT_S", "soon"),
            ("SHUTDOWN_ANNOUNCE_S", "301"),
        ] {
            let error = read(&[(variable, value)]).expect_err(value);
            assert_eq!(error.variable, variable);
            let text = error.to_string();
            assert!(text.contains(value) && text.contains("for example"), "{text}");
        }
    }
}
