//! Who may ask the agent what.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, web};
use proto_contracts::{Authority, ErrorCode, path};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::Supervised;
use super::problem::Refusal;

/// The names of this machine's own loopback.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Lets pass what names a loopback host: a page that had its own name resolve to 127.0.0.1 sends that name.
pub(super) async fn require_loopback_host(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if names_loopback(&request) {
        next.call(request).await
    } else {
        Err(Refusal::new(ErrorCode::MisdirectedRequest, "the agent serves loopback names alone").into())
    }
}

fn names_loopback(request: &ServiceRequest) -> bool {
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let fields = request.headers().get_all(header::HOST).map(|host| host.as_bytes());
    Authority::requested(in_target, fields).is_some_and(|host| HOSTS.iter().any(|name| host.has_host(name.as_bytes())))
}

/// Lets pass what has one reading: an escaped slash or a dot segment could name another component than it shows.
pub(super) async fn require_canonical_path(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Err(fault) = path::canonical(request.uri().path()) {
        return Err(Refusal::new(fault.code(), fault.to_string()).into());
    }
    next.call(request).await
}

/// Lets pass what bears the token.
pub(super) async fn require_token(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let shown = request.headers().get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    let granted = request
        .app_data::<web::Data<Supervised>>()
        .is_some_and(|supervised| shown.ct_eq(supervised.token.expose_secret().as_bytes()).into());
    if granted {
        next.call(request).await
    } else {
        let detail = "send the token of the state folder's agent.token as `Authorization: Bearer`";
        Err(Refusal::new(ErrorCode::Unauthorized, detail).into())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn loopback_is_named_as_uris_name_hosts() {
        let named = |target: &str, host: &'static str| {
            names_loopback(&TestRequest::with_uri(target).insert_header(("host", host)).to_srv_request())
        };
        for host in ["localhost", "LocalHost:8002", "localhost:", "127.0.0.1:8002", "[::1]", "[0:0:0:0:0:0:0:1]:8002"] {
            assert!(named("/agent/v1/status", host), "{host}");
        }
        for host in ["tandem.example", "localhost.example", "localhost@tandem.example", "::1", ""] {
            assert!(!named("/agent/v1/status", host), "{host}");
        }
        assert!(!named("http://tandem.example/agent/v1/status", "localhost"), "the target's host counts");
        assert!(named("http://localhost/agent/v1/status", "tandem.example"));
    }
}
