//! The environment of a process, with secrets from files and an instance name from DNS.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::own_name::{self, NameError};
use super::{ConfigError, Env};

/// The variables that hold secrets. Each may be a file instead, named by `…_FILE` as in the
/// official database images: a file does not appear in `docker inspect` and is not inherited by
/// children.
pub const SECRETS: [&str; 11] = [
    "AGENT_TOKEN",
    "CONTROL_TOKEN",
    "DRIVER_TOKEN",
    "INSTANCE_TOKEN",
    "SESSION_REDIS_URL",
    "CACHE_REDIS_URL",
    "DATABASE_URL",
    "DATABASE_REPLICA_URL",
    "SESSION_ID_SECRET",
    "IDEMPOTENCY_SECRET",
    "FILES_S3_SECRET_KEY",
];
const FILES: [&str; SECRETS.len()] = [
    "AGENT_TOKEN_FILE",
    "CONTROL_TOKEN_FILE",
    "DRIVER_TOKEN_FILE",
    "INSTANCE_TOKEN_FILE",
    "SESSION_REDIS_URL_FILE",
    "CACHE_REDIS_URL_FILE",
    "DATABASE_URL_FILE",
    "DATABASE_REPLICA_URL_FILE",
    "SESSION_ID_SECRET_FILE",
    "IDEMPOTENCY_SECRET_FILE",
    "FILES_S3_SECRET_KEY_FILE",
];
/// The placeholder in a URL for the password in the file that `…_PASSWORD_FILE` names.
const PASSWORD: &str = "{password}";
const PASSWORD_FILES: [(&str, &str); 4] = [
    ("SESSION_REDIS_URL", "SESSION_REDIS_URL_PASSWORD_FILE"),
    ("CACHE_REDIS_URL", "CACHE_REDIS_URL_PASSWORD_FILE"),
    ("DATABASE_URL", "DATABASE_URL_PASSWORD_FILE"),
    ("DATABASE_REPLICA_URL", "DATABASE_REPLICA_URL_PASSWORD_FILE"),
];
/// Part of every secret in the repository, which are for development only.
pub const DEVELOPMENT_SECRET: &str = "development-only";
const MODE: &str = "TANDEM_MODE";
const PRODUCTION: &str = "production";
const NAME: &str = "INSTANCE_ID";
const NAME_FROM: &str = "INSTANCE_ID_FROM";

type Variables = HashMap<OsString, OsString>;

impl Env {
    /// The environment of this process, with three changes:
    /// - a secret is read from the file that `…_FILE` names ([`SECRETS`]), and a URL's `{password}`
    ///   from that of `…_PASSWORD_FILE`;
    /// - with `TANDEM_MODE=production`, a development secret is rejected;
    /// - with `INSTANCE_ID_FROM=dns`, `INSTANCE_ID` is `kind` and the container's number, from a
    ///   reverse DNS lookup.
    ///
    /// # Errors
    /// When a file cannot be read, a secret is rejected, or the name is not found.
    pub fn process(kind: &str) -> Result<Self, ConfigError> {
        let mut variables = with_secrets(std::env::vars_os().collect())?;
        if let Some(name) = found_name(&variables, || own_name::by_dns(kind))? {
            variables.insert(NAME.into(), name.into());
        }
        Ok(Self(Box::new(move |variable| {
            variables.get(variable.as_ref() as &std::ffi::OsStr).cloned()
        })))
    }

    /// Whether the secrets of the repository are rejected: `TANDEM_MODE=production`.
    pub fn is_production(&self) -> bool {
        self.variable(MODE).as_deref() == Some(PRODUCTION)
    }

    /// A variable as text; `None` when it is unset, empty or not UTF-8.
    pub fn variable(&self, variable: &str) -> Option<String> {
        (self.0)(variable)?.into_string().ok().filter(|text| !text.is_empty())
    }
}

fn text<'a>(variables: &'a Variables, variable: &str) -> Option<&'a OsString> {
    variables.get(variable.as_ref() as &std::ffi::OsStr).filter(|value| !value.is_empty())
}

fn with_secrets(mut variables: Variables) -> Result<Variables, ConfigError> {
    let production = match text(&variables, MODE).map(|mode| mode.to_string_lossy()).as_deref() {
        None | Some("development") => false,
        Some(PRODUCTION) => true,
        Some(other) => {
            let fault = format!("is '{other}', neither development nor production");
            return Err(ConfigError { variable: MODE, fault, example: "production" });
        }
    };
    for (secret, file) in SECRETS.into_iter().zip(FILES) {
        let Some(path) = text(&variables, file) else { continue };
        if text(&variables, secret).is_some() {
            return Err(wrong_file(file, format!("and {secret} are both set; unset one of them")));
        }
        let read = read_secret(file, path)?;
        variables.insert(secret.into(), read.into());
    }
    for (url, file) in PASSWORD_FILES {
        let Some(path) = text(&variables, file) else { continue };
        let read = read_secret(file, path)?;
        let template =
            text(&variables, url).map(|url| url.to_string_lossy().into_owned()).unwrap_or_default();
        if !template.contains(PASSWORD) {
            return Err(wrong_file(
                file,
                format!("is set, but {url} has no {PASSWORD} to replace"),
            ));
        }
        let password = utf8_percent_encode(&read, NON_ALPHANUMERIC).to_string();
        variables.insert(url.into(), template.replace(PASSWORD, &password).into());
    }
    for secret in SECRETS {
        let known = |value: &OsString| value.to_string_lossy().contains(DEVELOPMENT_SECRET);
        if production && text(&variables, secret).is_some_and(known) {
            return Err(ConfigError {
                variable: secret,
                fault: "is a public development secret, and TANDEM_MODE is production".to_owned(),
                example: "$(openssl rand -hex 24)",
            });
        }
    }
    Ok(variables)
}

fn wrong_file(variable: &'static str, fault: String) -> ConfigError {
    ConfigError { variable, fault, example: "/run/secrets/the-secret" }
}

fn read_secret(variable: &'static str, path: &OsString) -> Result<String, ConfigError> {
    let named = path.to_string_lossy();
    let read = std::fs::read_to_string(Path::new(path));
    let read = read.map_err(|error| wrong_file(variable, format!("names {named}: {error}")))?;
    // Editors and `openssl rand` end a file with a line break.
    match read.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong_file(variable, format!("names {named}, which is empty"))),
        secret => Ok(secret.to_owned()),
    }
}

fn found_name(
    variables: &Variables,
    by_dns: impl FnOnce() -> Result<String, NameError>,
) -> Result<Option<String>, ConfigError> {
    let example = "dns";
    let Some(from) = text(variables, NAME_FROM) else { return Ok(None) };
    if text(variables, NAME).is_some() {
        let fault = format!("and {NAME} are both set; unset one of them");
        return Err(ConfigError { variable: NAME_FROM, fault, example });
    }
    if from != "dns" {
        let fault = format!("is '{}', not dns", from.to_string_lossy());
        return Err(ConfigError { variable: NAME_FROM, fault, example });
    }
    match by_dns() {
        Ok(name) => Ok(Some(name)),
        Err(error) => {
            let fault = format!(
                "is dns, and {error}; set {NAME} instead where this machine has no DNS name"
            );
            Err(ConfigError { variable: NAME_FROM, fault, example })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_break() {
        let file = file("0123456789abcdef\n");
        let path = file.path().to_str().expect("UTF-8");
        let read = with_secrets(variables(&[("CONTROL_TOKEN_FILE", path)])).expect("read");
        assert_eq!(text(&read, "CONTROL_TOKEN").expect("set"), "0123456789abcdef");
    }

    #[test]
    fn every_secret_has_the_file_of_its_name() {
        for (secret, file) in SECRETS.into_iter().zip(FILES) {
            assert_eq!(file, format!("{secret}_FILE"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_its_secret_is_not() {
        let (empty, full) = (file("\n"), file("hunter2"));
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("UTF-8").to_owned();
        for (pairs, expected) in [
            (vec![("DATABASE_URL_FILE", "/does/not/exist".to_owned())], "/does/not/exist"),
            (vec![("DATABASE_URL_FILE", path(&empty))], "empty"),
            (
                vec![("DATABASE_URL_FILE", path(&full)), ("DATABASE_URL", "hunter2".to_owned())],
                "both set",
            ),
        ] {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let error = with_secrets(variables(&pairs)).expect_err("rejected");
            assert_eq!(error.variable, "DATABASE_URL_FILE");
            assert!(
                error.fault.contains(expected) && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_password_replaces_its_placeholder() {
        let file = file("p@ss/word\n");
        let path = file.path().to_str().expect("UTF-8");
        let with = |url| variables(&[("DATABASE_URL", url), ("DATABASE_URL_PASSWORD_FILE", path)]);
        let read =
            with_secrets(with("postgresql://tandem:{password}@postgres/tandem")).expect("read");
        assert_eq!(
            text(&read, "DATABASE_URL").expect("set"),
            "postgresql://tandem:p%40ss%2Fword@postgres/tandem"
        );
        let error =
            with_secrets(with("postgresql://tandem@postgres/tandem")).expect_err("no placeholder");
        assert!(
            error.to_string().contains("{password}") && !error.to_string().contains("p@ss"),
            "{error}"
        );
    }

    #[test]
    fn production_rejects_a_development_secret() {
        let with =
            |mode| [("TANDEM_MODE", mode), ("INSTANCE_TOKEN", "development-only-instance-token")];
        assert!(with_secrets(variables(&with("development"))).is_ok());
        let error = with_secrets(variables(&with("production"))).expect_err("rejected");
        assert!(
            error.variable == "INSTANCE_TOKEN" && error.fault.contains("production"),
            "{error}"
        );
        assert_eq!(
            with_secrets(variables(&with("prod"))).expect_err("no mode").variable,
            "TANDEM_MODE"
        );
    }

    #[test]
    fn a_name_is_looked_up_only_on_request() {
        let find =
            |pairs: &[(&str, &str)]| found_name(&variables(pairs), || Ok("stateful-2".to_owned()));
        assert_eq!(find(&[]).expect("not requested"), None);
        assert_eq!(
            find(&[("INSTANCE_ID_FROM", "dns")]).expect("found").as_deref(),
            Some("stateful-2")
        );
        assert!(find(&[("INSTANCE_ID_FROM", "dns"), ("INSTANCE_ID", "a")]).is_err());
        assert!(find(&[("INSTANCE_ID_FROM", "hostname")]).is_err());
        let lost = found_name(&variables(&[("INSTANCE_ID_FROM", "dns")]), || {
            Err(NameError::Unknown(Vec::new()))
        });
        assert!(lost.expect_err("not found").to_string().contains("INSTANCE_ID"));
    }
}
