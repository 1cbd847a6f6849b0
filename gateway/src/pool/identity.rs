//! What an instance says that it is, and whether that fits the pool.

use pingora::http::ResponseHeader;
use proto_contracts::health::PROTOCOL;
use proto_contracts::{DeploymentName, PoolName, headers};

/// What listens at an address is no instance for the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It speaks something else.
    #[error("it does not speak HTTP: what listens there is no instance. Check the address and the port")]
    NotHttp,
    /// It speaks HTTP, and its responses name no instance.
    #[error(
        "it answered {status} to GET /health without a valid {} header, so it is no instance. Check the address and the port",
        headers::INSTANCE_ID
    )]
    NotAnInstance {
        /// Its status.
        status: u16,
    },
    /// It is an instance of another service.
    #[error("it is an instance of {found}, and the {pool} pool takes {}. {}", .pool.service(), cure(.found))]
    Service {
        /// What it is.
        found: String,
        /// Where it was to be.
        pool: PoolName,
    },
    /// It and this gateway would misunderstand each other.
    #[error(
        "it is of protocol {found} (version {version}), and this gateway of {PROTOCOL}. Run gateways and instances of \
         versions that have the same protocol"
    )]
    Protocol {
        /// Its number, or what it sent instead.
        found: String,
        /// Its version.
        version: String,
    },
    /// It does not say what it is, and has to.
    #[error(
        "it names no service and no protocol: it is of an older version. Upgrade it, or accept it for the time of an \
         upgrade with [health] require_identity = false"
    )]
    Unidentified,
    /// It belongs to others.
    #[error(
        "it belongs to the deployment {found}, and this gateway to {expected}. Check the address, or DEPLOYMENT of both"
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
        None => "Check the address and the port".to_owned(),
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

/// What an instance says that it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    service: Option<&'a str>,
    protocol: Option<&'a str>,
    version: Option<&'a str>,
    deployment: Option<&'a str>,
}

impl<'a> Claims<'a> {
    /// What this response to `/health` says.
    pub fn of(response: &'a ResponseHeader) -> Self {
        let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            service: text(headers::SERVICE),
            protocol: text(headers::SERVICE_PROTOCOL),
            version: text(headers::SERVICE_VERSION),
            deployment: text(headers::DEPLOYMENT),
        }
    }

    /// Whether that fits the pool. What it does not say is not held against it, unless `require` is set.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn check(self, pool: PoolName, deployment: Option<&DeploymentName>, require: bool) -> Result<(), Mismatch> {
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

    const FINE: Claims<'_> =
        Claims { service: Some("stateful-svc"), protocol: Some("1"), version: Some("1.2.3"), deployment: Some("blue") };

    fn label(claims: Claims<'_>, require: bool) -> Option<&'static str> {
        let blue = "blue".parse().expect("a name");
        claims.check(PoolName::Stateful, Some(&blue), require).err().map(|mismatch| mismatch.label())
    }

    #[test]
    fn each_mismatch_is_found_and_what_is_not_said_is_none_unless_required() {
        for (claims, expected) in [
            (FINE, None),
            (Claims { service: Some("stateless-svc"), ..FINE }, Some("wrong_service")),
            (Claims { service: Some("gateway"), ..FINE }, Some("wrong_service")),
            (Claims { protocol: Some("2"), ..FINE }, Some("wrong_protocol")),
            (Claims { protocol: Some("x"), ..FINE }, Some("wrong_protocol")),
            (Claims { deployment: Some("green"), ..FINE }, Some("wrong_deployment")),
            (Claims { deployment: None, ..FINE }, None),
        ] {
            assert_eq!((label(claims, false), label(claims, true)), (expected, expected), "{claims:?}");
        }
        assert_eq!(label(Claims::default(), false), None, "an older version, while an upgrade goes on");
        assert_eq!(label(Claims::default(), true), Some("wrong_protocol"));
        let green = Claims { deployment: Some("green"), ..FINE };
        assert_eq!(green.check(PoolName::Stateful, None, false), Ok(()), "compared where both have one");
    }

    #[test]
    fn a_mismatch_names_cause_and_cure() {
        let stateless = Claims { service: Some("stateless-svc"), ..FINE };
        let told = stateless.check(PoolName::Stateful, None, false).expect_err("refused").to_string();
        assert_eq!(
            told,
            "it is an instance of stateless-svc, and the stateful pool takes stateful-svc. Add it to the stateless pool"
        );
        let newer = Claims { protocol: Some("2"), ..FINE };
        let told = newer.check(PoolName::Stateful, None, false).expect_err("refused").to_string();
        assert!(told.contains("protocol 2 (version 1.2.3)") && told.contains("of 1."), "{told}");
    }
}
