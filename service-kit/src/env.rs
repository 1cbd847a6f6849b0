//! Environment variables: the source of every setting, validated as they are read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

mod own_name;
mod process;

pub use process::{DEVELOPMENT_SECRET, SECRETS};

/// Exit status for an invalid configuration: `EX_USAGE` of `sysexits.h`.
pub const EX_USAGE: u8 = 64;

/// A variable has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {fault}; for example: {variable}={example}")]
pub struct ConfigError {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong with its value. Never quotes a secret.
    pub fault: String,
    /// A valid value.
    pub example: &'static str,
}

impl ConfigError {
    /// Prints the error to standard error and returns the exit status for `main`.
    pub fn exit(&self) -> ExitCode {
        use std::io::Write as _;
        let _unread = writeln!(std::io::stderr(), "configuration error: {self}");
        ExitCode::from(EX_USAGE)
    }
}

/// The source of settings: the process environment, or a map in tests.
pub struct Env(Box<Source>);

type Source = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Env {
    /// Only these variables.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let map: HashMap<String, OsString> =
            pairs.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        Self(Box::new(move |variable| map.get(variable).cloned()))
    }

    /// Reads a variable, or `default` when it is unset or empty.
    ///
    /// # Errors
    /// When the text does not parse.
    pub fn parse<T>(
        &self,
        variable: &'static str,
        default: &str,
        example: &'static str,
    ) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(variable, default, example)?;
        text.parse().map_err(|error| ConfigError {
            variable,
            fault: format!("is '{text}': {error}"),
            example,
        })
    }

    /// Reads a value that must be within `range`.
    ///
    /// # Errors
    /// When the text does not parse, or the value is out of range.
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

    /// Reads a duration in whole seconds.
    ///
    /// # Errors
    /// When the text is not a number, or out of range.
    pub fn seconds(
        &self,
        variable: &'static str,
        default: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.parse_within(variable, default, range, "30").map(Duration::from_secs)
    }

    /// Reads a secret and parses it with `read`, whose error is dropped because it may quote the
    /// secret.
    ///
    /// # Errors
    /// When `read` rejects the text.
    pub fn secret<T, E>(
        &self,
        variable: &'static str,
        default: &str,
        example: &'static str,
        read: impl FnOnce(&SecretString) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        self.secret_url(variable, default, example, |secret| {
            // The error is dropped: parsers quote their input.
            read(secret).map_err(|_| {
                format!("cannot be used (its {} bytes are not shown)", secret.expose_secret().len())
            })
        })
    }

    /// Reads a URL that may hold a password, and parses it with `read`, whose error must not quote
    /// it.
    ///
    /// # Errors
    /// When `read` rejects the text.
    pub fn secret_url<T, E: Display>(
        &self,
        variable: &'static str,
        default: &str,
        example: &'static str,
        read: impl FnOnce(&SecretString) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let url = SecretString::from(self.text(variable, default, example)?);
        read(&url).map_err(|error| ConfigError { variable, fault: error.to_string(), example })
    }

    /// Reads a secret that must be long, unless it is empty or unset.
    ///
    /// # Errors
    /// For one of fewer than 32 bytes.
    pub fn long_secret(&self, variable: &'static str) -> Result<Option<SecretString>, ConfigError> {
        const FEWEST_BYTES: usize = 32;
        let example = "$(openssl rand -hex 32)";
        let secret = SecretString::from(self.text(variable, "", example)?);
        match secret.expose_secret().len() {
            0 => Ok(None),
            FEWEST_BYTES.. => Ok(Some(secret)),
            bytes => {
                let fault = format!("has {bytes} bytes, fewer than {FEWEST_BYTES}");
                Err(ConfigError { variable, fault, example })
            }
        }
    }

    fn text(
        &self,
        variable: &'static str,
        default: &str,
        example: &'static str,
    ) -> Result<String, ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_quoted() {
        let env = Env::from_pairs([("DATABASE_URL", "hunter2")]);
        let error =
            env.secret("DATABASE_URL", "", "postgresql://…", |text| Err::<(), _>(text.clone()));
        let error = error.expect_err("rejected").to_string();
        assert!(error.starts_with("DATABASE_URL") && !error.contains("hunter2"), "{error}");
    }
}
