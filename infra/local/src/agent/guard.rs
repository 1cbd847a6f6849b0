//! Who may ask the agent what.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, web};
use proto_contracts::ErrorCode;
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
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    if HOSTS.contains(&name) {
        next.call(request).await
    } else {
        Err(Refusal::new(ErrorCode::MisdirectedRequest, "the agent answers to loopback names alone").into())
    }
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
