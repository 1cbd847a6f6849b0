//! Admission of requests to the agent.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, web};
use proto_contracts::{Authority, ErrorCode, path};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::problem::ApiError;
use super::supervised::Supervised;

/// Host names of the loopback interface.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Admits requests to a loopback host name only. After DNS rebinding a browser sends another name.
pub(super) async fn require_loopback_host(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if names_loopback(&request) {
        next.call(request).await
    } else {
        Err(ApiError::new(
            ErrorCode::MisdirectedRequest,
            "the agent accepts only loopback host names",
        )
        .into())
    }
}

fn names_loopback(request: &ServiceRequest) -> bool {
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let fields = request.headers().get_all(header::HOST).map(|host| host.as_bytes());
    Authority::requested(in_target, fields)
        .is_some_and(|host| HOSTS.iter().any(|name| host.has_host(name.as_bytes())))
}

/// Admits canonical paths only: an escaped slash or a dot segment could hide the component's name.
pub(super) async fn require_canonical_path(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Err(fault) = path::canonical(request.uri().path()) {
        return Err(ApiError::new(fault.code(), fault.to_string()).into());
    }
    next.call(request).await
}

/// Admits requests with the token.
pub(super) async fn require_token(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let token =
        request.headers().get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let token = token.strip_prefix(b"Bearer ").unwrap_or_default();
    let granted = request
        .app_data::<web::Data<Supervised>>()
        .is_some_and(|supervised| token.ct_eq(supervised.token.expose_secret().as_bytes()).into());
    if granted {
        next.call(request).await
    } else {
        let detail = "send the token of the state folder's agent.token as `Authorization: Bearer`";
        Err(ApiError::new(ErrorCode::Unauthorized, detail).into())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn loopback_host_names_are_recognized() {
        let named = |target: &str, host: &'static str| {
            names_loopback(
                &TestRequest::with_uri(target).insert_header(("host", host)).to_srv_request(),
            )
        };
        for host in [
            "localhost",
            "LocalHost:8002",
            "localhost:",
            "127.0.0.1:8002",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:8002",
        ] {
            assert!(named("/agent/v1/status", host), "{host}");
        }
        for host in ["tandem.example", "localhost.example", "localhost@tandem.example", "::1", ""] {
            assert!(!named("/agent/v1/status", host), "{host}");
        }
        assert!(
            !named("http://tandem.example/agent/v1/status", "localhost"),
            "the target's host counts"
        );
        assert!(named("http://localhost/agent/v1/status", "tandem.example"));
    }
}
