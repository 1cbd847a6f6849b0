//! The parameters of a PostgreSQL URL that select TLS: libpq's `sslmode` and `sslrootcert`.

use std::path::Path;
use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::tls::{Trust, TrustError};

/// What libpq calls the system's authorities.
const SYSTEM: &str = "system";

/// Why a PostgreSQL URL is invalid. Never quotes it, since it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It is no URL of PostgreSQL, or has an unknown parameter.
    #[error("is not a URL of the form postgresql://user:password@host:port/database")]
    Malformed,
    /// `sslmode` would not check who responds.
    #[error(
        "has an sslmode that does not verify the server: write sslmode=verify-full, or \
         sslmode=disable for a connection without TLS"
    )]
    Unverified,
    /// `sslrootcert` without TLS.
    #[error("has sslrootcert, but not sslmode=verify-full")]
    RootCertWithoutTls,
    /// The authorities cannot be used.
    #[error("needs the certificates of authorities: {0}")]
    Trust(#[from] TrustError),
}

/// Parses a URL. `trust` holds unless the URL has `sslrootcert`.
pub(super) fn parse(
    url: &SecretString,
    trust: &Trust,
) -> Result<(Config, Option<ClientConfig>), InvalidUrl> {
    let url = url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(InvalidUrl::Malformed);
    }
    let (rest, mode, root) = split(url);
    let mut config = Config::from_str(&rest).map_err(|_| InvalidUrl::Malformed)?;
    if config.get_hosts().is_empty() {
        return Err(InvalidUrl::Malformed);
    }
    let root = root.map(|root| percent_decode_str(root).decode_utf8_lossy().into_owned());
    match (mode, root.as_deref()) {
        (None | Some("disable"), None) => {
            config.ssl_mode(SslMode::Disable);
            Ok((config, None))
        }
        (None | Some("disable"), Some(_)) => Err(InvalidUrl::RootCertWithoutTls),
        (Some("verify-full"), root) => {
            config.ssl_mode(SslMode::Require);
            let tls = match root {
                None => trust.client_config(),
                Some(SYSTEM) => Trust::system().client_config(),
                Some(path) => Trust::file(Path::new(path))?.client_config(),
            };
            Ok((config, Some(tls?)))
        }
        _ => Err(InvalidUrl::Unverified),
    }
}

/// The URL without the two parameters, and their values.
fn split(url: &str) -> (String, Option<&str>, Option<&str>) {
    // A password may have a question mark, and ends with the first '@'.
    let after_login = url.find('@').unwrap_or(0);
    let Some(mark) = url[after_login..].find('?') else { return (url.to_owned(), None, None) };
    let (base, parameters) = (&url[..after_login + mark], &url[after_login + mark + 1..]);
    let (mut mode, mut root, mut others) = (None, None, Vec::new());
    for parameter in parameters.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => root = Some(value),
            _ => others.push(parameter),
        }
    }
    let mark = if others.is_empty() { "" } else { "?" };
    (format!("{base}{mark}{}", others.join("&")), mode, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<(Config, bool), InvalidUrl> {
        let (config, tls) = parse(&SecretString::from(url), &Trust::system())?;
        Ok((config, tls.is_some()))
    }

    #[test]
    fn tls_is_off_unless_the_url_asks_for_it_and_then_verified() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a b.pem");
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertificateParams::default().self_signed(&key).expect("an authority");
        std::fs::write(&path, ca.pem()).expect("written");
        let root = path.to_string_lossy().replace(' ', "%20");

        for plain in ["", "?sslmode=disable", "?application_name=a&sslmode=disable"] {
            let (config, tls) = parsed(&format!("postgresql://u:p?@h/d{plain}")).expect(plain);
            assert_eq!((config.get_ssl_mode(), tls), (SslMode::Disable, false), "{plain}");
            assert_eq!(config.get_dbname(), Some("d"));
        }
        let url = format!(
            "postgresql://u:p@h,i:5/d?sslmode=verify-full&application_name=a&sslrootcert={root}"
        );
        let (config, tls) = parsed(&url).expect("verified");
        assert_eq!((config.get_ssl_mode(), tls), (SslMode::Require, true));
        assert_eq!((config.get_application_name(), config.get_hosts().len()), (Some("a"), 2));
    }

    #[test]
    fn a_wrong_parameter_is_named_with_its_cure_and_nothing_is_quoted() {
        for (parameters, fault) in [
            ("sslmode=prefer", "sslmode=verify-full"),
            ("sslmode=require", "does not verify the server"),
            ("sslmode=verify-ca&sslrootcert=/ca.pem", "does not verify the server"),
            ("sslrootcert=/ca.pem", "but not sslmode=verify-full"),
            ("sslmode=disable&sslrootcert=system", "but not sslmode=verify-full"),
            ("sslmode=verify-full&sslrootcert=/absent/ca.pem", "'/absent/ca.pem' cannot be read"),
            ("sslkey=/a", "form postgresql://"),
        ] {
            let error = parsed(&format!("postgresql://u:hunter2@h/d?{parameters}"));
            let error = error.expect_err(parameters).to_string();
            assert!(error.contains(fault) && !error.contains("hunter2"), "{parameters}: {error}");
        }
    }
}
