//! Configuration from the environment: read once, through an injected source, into validated types.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use proto_contracts::{DeploymentName, InstanceName, Weight};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::level_filters::LevelFilter;

use crate::telemetry::TraceConfig;

mod own_name;
mod process;

pub use process::{DEVELOPMENT_SECRET, SECRETS};

/// Exit status of a program that was configured wrongly: `EX_USAGE` of `sysexits.h`.
pub const EX_USAGE: u8 = 64;

/// One variable has a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {fault}; for example: {variable}={example}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// What is wrong with its value. Never holds the value of a secret.
    pub fault: String,
    /// A value that would do.
    pub example: &'static str,
}

impl ConfigError {
    /// Tells the operator on standard error and gives `main` its exit status.
    pub fn exit(&self) -> ExitCode {
        use std::io::Write as _;
        let _nobody_listens = writeln!(std::io::stderr(), "configuration error: {self}");
        ExitCode::from(EX_USAGE)
    }
}

/// Where settings come from: the process environment, or a map in tests.
pub struct Env(Box<Source>);

type Source = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Env {
    /// These variables and no others.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let map: HashMap<String, OsString> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        Self(Box::new(move |variable| map.get(variable).cloned()))
    }

    /// Reads a variable, or `default` when it is unset or empty.
    ///
    /// # Errors
    /// When the text cannot be read as a `T`.
    pub fn parse<T>(&self, variable: &'static str, default: &str, example: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(variable, default, example)?;
        text.parse().map_err(|error| ConfigError { variable, fault: format!("is '{text}': {error}"), example })
    }

    /// Reads a number or another ordered value that must lie in `range`.
    ///
    /// # Errors
    /// When the text cannot be read as a `T`, or lies outside.
    pub fn parse_within<T>(
        &self,
        variable: &'static str,
        default: &str,
        range: RangeInclusive<T>,
        example: &'static str,
    ) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
        T::Err: Display,
    {
        let value = self.parse(variable, default, example)?;
        if range.contains(&value) {
            return Ok(value);
        }
        let fault = format!("is {value}, not within {} to {}", range.start(), range.end());
        Err(ConfigError { variable, fault, example })
    }

    /// Reads a time in whole seconds.
    ///
    /// # Errors
    /// When it is no number or lies outside of `range`.
    pub fn seconds(
        &self,
        variable: &'static str,
        default: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.parse_within(variable, default, range, "30").map(Duration::from_secs)
    }

    /// Reads a secret. `read` turns it into what it stands for; its error is told without the secret's text.
    ///
    /// # Errors
    /// When `read` refuses the text.
    pub fn secret<T, E>(
        &self,
        variable: &'static str,
        default: &str,
        example: &'static str,
        read: impl FnOnce(&SecretString) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let secret = SecretString::from(self.text(variable, default, example)?);
        // The error is left out on purpose: parsers like to quote what they could not read.
        read(&secret).map_err(|_| {
            let fault = format!("cannot be used (its {} bytes are not shown)", secret.expose_secret().len());
            ConfigError { variable, fault, example }
        })
    }

    fn text(&self, variable: &'static str, default: &str, example: &'static str) -> Result<String, ConfigError> {
        match (self.0)(variable) {
            None => Ok(default.to_owned()),
            Some(text) if text.is_empty() => Ok(default.to_owned()),
            Some(text) => text.into_string().map_err(|_| ConfigError {
                variable,
                fault: "is not valid UTF-8".to_owned(),
                example,
            }),
        }
    }
}

/// What every service can be told.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `LISTEN_ADDR`: where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `INSTANCE_ID`: the stable name of this instance.
    pub instance: InstanceName,
    /// `WORKERS`: threads that serve requests; the number of cores by default.
    pub workers: NonZeroUsize,
    /// `LOG_LEVEL`: a filter of `tracing-subscriber`, such as `info` or `info,access=off`.
    pub log_filter: String,
    /// `SHUTDOWN_TIMEOUT_S`: how long requests in flight may take to finish after a SIGTERM; 30 s by default.
    pub shutdown_timeout: Duration,
    /// `OTEL_*`: where traces are sent; nowhere by default.
    pub traces: Option<TraceConfig>,
    /// `SHUTDOWN_ANNOUNCE_S`: for how long the instance serves on after a SIGTERM and tells in its health answers that it
    /// leaves, before it closes its listener. By default 12 s: two health checks of a gateway, 5 s apart, and a little.
    pub announce: Duration,
    /// `INSTANCE_TOKEN`: what a gateway must present to drain the instance; without it no gateway can.
    pub instance_token: Option<SecretString>,
    /// `DEPLOYMENT`: what it belongs to; gateways of another deployment refuse it.
    pub deployment: Option<DeploymentName>,
    /// `INSTANCE_WEIGHT`: how many shares of its pool it gets, unless a gateway's configuration or an operator says otherwise.
    pub weight: Weight,
}

/// The shortest instance token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_LEN: usize = 16;

impl ServiceConfig {
    /// Reads the common settings; each service has its own name, and its own defaults for address and instance.
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
            weight: env.parse("INSTANCE_WEIGHT", "1", "2")?,
            instance,
        })
    }
}

/// None when it is empty; an error when it is too short to be a secret.
fn instance_token(text: &SecretString) -> Result<Option<SecretString>, ()> {
    match text.expose_secret().len() {
        0 => Ok(None),
        length if length >= MIN_TOKEN_LEN => Ok(Some(text.clone())),
        _ => Err(()),
    }
}

/// A log filter that was read once to see that it can be.
struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::from_str(text).map_err(|error| error.to_string())?;
        // The syntax takes any lone word for a target: a misspelt level would silence the log.
        match text.split(',').find(|part| !part.contains(['=', '[']) && LevelFilter::from_str(part.trim()).is_err()) {
            Some(part) => Err(format!("'{part}' is no level; they are off, error, warn, info, debug and trace")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// More threads than this are a slip of the pen.
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
            let told = error.to_string();
            assert!(told.contains(value) && told.contains("for example"), "{told}");
        }
    }

    #[test]
    fn a_secret_is_never_told() {
        let env = Env::from_pairs([("DATABASE_URL", "hunter2")]);
        let error = env.secret("DATABASE_URL", "", "postgresql://…", |text| Err::<(), _>(text.clone()));
        let told = error.expect_err("refused").to_string();
        assert!(told.starts_with("DATABASE_URL") && !told.contains("hunter2"), "{told}");
    }
}
