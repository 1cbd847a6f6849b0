//! An instance's identity headers, and whether they match the pool.

use pingora::http::ResponseHeader;
use proto_contracts::health::PROTOCOL;
use proto_contracts::{DeploymentName, PoolName, headers};

/// The address is not an instance of the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It does not speak HTTP.
    #[error("it does not speak HTTP, so it is not an instance. Check address and port")]
    NotHttp,
    /// Its responses have no instance name.
    #[error(
        "it responded to GET /health with {status} and no valid {} header, so it is not an \
         instance. Check address and port",
        headers::INSTANCE_ID
    )]
    NotAnInstance {
        /// The response's status.
        status: u16,
    },
    /// It is an instance of another service.
    #[error(
        "it is an instance of {found}, but the {pool} pool takes {}. {}",
        .pool.service(),
        cure(.found)
    )]
    Service {
        /// Its service.
        found: String,
        /// The pool.
        pool: PoolName,
    },
    /// It has another protocol version.
    #[error(
        "it has protocol {found} (version {version}), but this gateway has {PROTOCOL}. Run \
         gateways and instances with the same protocol"
    )]
    Protocol {
        /// The protocol that it sent.
        found: String,
        /// Its version.
        version: String,
    },
    /// It sends no identity headers, which are required.
    #[error(
        "it sends no service and protocol headers: its version is too old. Upgrade it, or accept \
         it during an upgrade with [health] require_identity = false"
    )]
    Unidentified,
    /// It belongs to another deployment.
    #[error(
        "it belongs to the deployment {found}, but this gateway to {expected}. Check the address, \
         or DEPLOYMENT of both"
    )]
    Deployment {
        /// Its deployment.
        found: String,
        /// The gateway's.
        expected: DeploymentName,
    },
}

fn cure(found: &str) -> String {
    match PoolName::ALL.into_iter().find(|pool| pool.service() == found) {
        Some(pool) => format!("Add it to the {pool} pool"),
        None => "Check address and port".to_owned(),
    }
}

impl Mismatch {
    /// The label of the metric `gateway_upstream_refused`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotHttp | Self::NotAnInstance { .. } => "not_an_instance",
            Self::Service { .. } => "wrong_service",
            Self::Protocol { .. } | Self::Unidentified => "wrong_protocol",
            Self::Deployment { .. } => "wrong_deployment",
        }
    }
}

/// The identity headers of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    service: Option<&'a str>,
    protocol: Option<&'a str>,
    version: Option<&'a str>,
    deployment: Option<&'a str>,
}

impl<'a> Claims<'a> {
    /// The headers of a response to `/health`.
    pub fn of(response: &'a ResponseHeader) -> Self {
        let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            service: text(headers::SERVICE),
            protocol: text(headers::SERVICE_PROTOCOL),
            version: text(headers::SERVICE_VERSION),
            deployment: text(headers::DEPLOYMENT),
        }
    }

    /// Whether they match the pool. Missing headers are accepted unless `require` is set.
    ///
    /// # Errors
    /// When they do not match.
    pub fn check(
        self,
        pool: PoolName,
        deployment: Option<&DeploymentName>,
        require: bool,
    ) -> Result<(), Mismatch> {
        if require && (self.service.is_none() || self.protocol.is_none()) {
            return Err(Mismatch::Unidentified);
        }
        if let Some(found) = self.service.filter(|service| *service != pool.service()) {
            return Err(Mismatch::Service { found: found.to_owned(), pool });
        }
        if let Some(found) = self.protocol.filter(|protocol| protocol.parse() != Ok(PROTOCOL)) {
            let version = self.version.unwrap_or("unknown").to_owned();
            return Err(Mismatch::Protocol { found: found.to_owned(), version });
        }
        match (self.deployment, deployment) {
            (Some(found), Some(expected)) if expected.to_string() != found => {
                Err(Mismatch::Deployment { found: found.to_owned(), expected: expected.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Claims<'_> = Claims {
        service: Some("stateful-svc"),
        protocol: Some("1"),
        version: Some("1.2.3"),
        deployment: Some("blue"),
    };

    fn label(claims: Claims<'_>, require: bool) -> Option<&'static str> {
        let blue = "blue".parse().expect("a name");
        claims
            .check(PoolName::Stateful, Some(&blue), require)
            .err()
            .map(|mismatch| mismatch.label())
    }

    #[test]
    fn each_mismatch_is_found_and_missing_headers_only_if_required() {
        for (claims, expected) in [
            (FINE, None),
            (Claims { service: Some("stateless-svc"), ..FINE }, Some("wrong_service")),
            (Claims { service: Some("gateway"), ..FINE }, Some("wrong_service")),
            (Claims { protocol: Some("2"), ..FINE }, Some("wrong_protocol")),
            (Claims { protocol: Some("x"), ..FINE }, Some("wrong_protocol")),
            (Claims { deployment: Some("green"), ..FINE }, Some("wrong_deployment")),
            (Claims { deployment: None, ..FINE }, None),
        ] {
            assert_eq!(
                (label(claims, false), label(claims, true)),
                (expected, expected),
                "{claims:?}"
            );
        }
        assert_eq!(
            label(Claims::default(), false),
            None,
            "an older version, while an upgrade goes on"
        );
        assert_eq!(label(Claims::default(), true), Some("wrong_protocol"));
        let green = Claims { deployment: Some("green"), ..FINE };
        assert_eq!(
            green.check(PoolName::Stateful, None, false),
            Ok(()),
            "compared where both have one"
        );
    }

    #[test]
    fn a_mismatch_names_cause_and_cure() {
        let stateless = Claims { service: Some("stateless-svc"), ..FINE };
        let message =
            stateless.check(PoolName::Stateful, None, false).expect_err("refused").to_string();
        assert_eq!(
            message,
            "it is an instance of stateless-svc, but the stateful pool takes stateful-svc. Add it \
             to the stateless pool"
        );
        let newer = Claims { protocol: Some("2"), ..FINE };
        let message =
            newer.check(PoolName::Stateful, None, false).expect_err("refused").to_string();
        assert!(
            message.contains("protocol 2 (version 1.2.3)") && message.contains("has 1."),
            "{message}"
        );
    }
}
